-- Attention sublayers dropped one at a time: the relative orthogonal magnitude of z divided by that of h.
-- One row per (model, prompt, step, block).
SELECT
    model,
    prompt,
    step,
    block,
    max(relative_orthogonal_magnitude) FILTER (space = 'logit')
    / nullif(max(relative_orthogonal_magnitude) FILTER (space = 'embedding'), 0) AS factor
FROM sublayer_trace
WHERE sublayer = 'attn'
GROUP BY ALL
