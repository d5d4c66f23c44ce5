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

-- Findings: the effect of lm_head on the orthogonal part at each (prompt, step).
WITH traced AS (
    SELECT
        model,
        block,
        prompt,
        step,
        max(relative_orthogonal_magnitude) FILTER (space = 'embedding') AS h,
        max(relative_orthogonal_magnitude) FILTER (space = 'logit') AS z
    FROM sublayer_trace
    WHERE sublayer = 'attn' AND block = $block
    GROUP BY ALL
)

SELECT
    model,
    format(
        'lm_head reduces the relative orthogonal magnitude at {:.0f} % of all prompts and steps. '
        'It multiplies it by {:.2f} at the median, and by {:.2f} to {:.2f} in nine tenths of all '
        'cases.',
        100 * avg((z < h)::INT),
        median(z / h),
        quantile_cont(z / h, 0.05),
        quantile_cont(z / h, 0.95)
    ) AS finding,
    avg((z < h)::INT) > 0.5 AS agrees
FROM traced
WHERE h > 0
GROUP BY ALL
ORDER BY ALL;
