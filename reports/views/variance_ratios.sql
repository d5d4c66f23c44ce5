-- Attention sublayers dropped one at a time: Var_r(Δz) divided by the magnitude ratio of h and of z.
-- One row per (model, variant, prompt, step, block, temperature, space); space is embedding or logit.
SELECT
    model,
    variant,
    prompt,
    step,
    block,
    logit_shift.temperature,
    space,
    max(block) OVER (PARTITION BY model) AS last_block,
    var_escort / nullif(relative_orthogonal_magnitude ** 2, 0) AS ratio
FROM logit_shift
INNER JOIN sublayer_trace USING (model, variant, prompt, step, block, sublayer)
WHERE
    sublayer = 'attn' AND space IN ('embedding', 'logit')
    AND logit_shift.temperature IS NOT NULL
