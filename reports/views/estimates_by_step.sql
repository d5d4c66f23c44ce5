-- Attention sublayers dropped one at a time: each measured deviation and its second-order estimate at each
-- step, as means over the prompts whose answer reaches the step.
-- One row per (model, quantity, space, temperature, block, step); no temperature changes h and z.
SELECT
    model,
    quantity,
    space,
    temperature,
    block,
    step,
    nullif(avg(measured), 0) AS measured, -- a logarithmic axis has no zero
    nullif(avg(estimated), 0) AS estimated,
    count(*) AS prompts
FROM deviation
WHERE sublayer = 'attn' AND "order" = 2
GROUP BY ALL
