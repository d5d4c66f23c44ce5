-- Figure 20. Attention sublayers dropped one at a time: Var_r(Δz) divided by the magnitude ratio of h.
-- One row per (model, temperature, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    temperature,
    block,
    step,
    nullif(avg(ratio), 0) AS ratio,
    count(*) AS prompts
FROM variance_ratios
WHERE space = 'embedding'
GROUP BY ALL
ORDER BY ALL;
