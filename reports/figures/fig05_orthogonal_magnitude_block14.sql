-- Figure 5. Relative orthogonal magnitude of h and z at one attention sublayer, dropped.
-- One row per (model, step, space): mean and range over prompts. `block` is a setting.
SELECT
    model,
    block,
    step,
    space,
    avg(relative_orthogonal_magnitude) AS mean,
    min(relative_orthogonal_magnitude) AS low,
    max(relative_orthogonal_magnitude) AS high,
    count(*) AS prompts
FROM sublayer_trace
WHERE sublayer = 'attn' AND block = $block AND space IN ('embedding', 'logit')
GROUP BY ALL
ORDER BY ALL;
