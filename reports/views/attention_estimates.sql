-- Attention sublayers dropped one at a time, T = 1: each measured deviation and its second-order estimate.
-- One row per (model, variant, prompt, step, block, quantity, space).
SELECT
    model,
    variant,
    prompt,
    step,
    block,
    quantity,
    space,
    measured,
    estimated,
    abs(estimated / nullif(measured, 0) - 1) AS error,
    max(block) OVER (PARTITION BY model) AS last_block
FROM deviation
WHERE sublayer = 'attn' AND "order" = 2 AND (temperature = 1 OR temperature IS NULL)
