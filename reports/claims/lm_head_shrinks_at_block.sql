-- Per prompt: the median over steps of the relative orthogonal magnitude of z divided by that of h, at one block.
WITH points AS (
    SELECT
        model,
        prompt AS unit,
        max(relative_orthogonal_magnitude) FILTER (space = 'logit')
        / nullif(max(relative_orthogonal_magnitude) FILTER (space = 'embedding'), 0) AS factor
    FROM sublayer_trace
    WHERE sublayer = 'attn' AND block = $block
    GROUP BY model, prompt, step
)

SELECT
    model,
    '' AS subject,
    unit,
    median(factor) AS measured
FROM points
GROUP BY ALL
ORDER BY ALL
