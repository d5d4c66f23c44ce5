-- Measurement and estimate of attention_estimates at each step, as means over the prompts whose
-- answer reaches the step.
-- One row per (model, quantity, space, block, step).
SELECT
    model,
    quantity,
    space,
    block,
    step,
    nullif(avg(measured), 0) AS measured, -- a logarithmic axis has no zero
    nullif(avg(estimated), 0) AS estimated,
    count(*) AS prompts
FROM attention_estimates
GROUP BY ALL
