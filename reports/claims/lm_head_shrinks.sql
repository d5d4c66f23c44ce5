-- Per prompt: the median over steps and blocks of the magnitude ratio of z divided by that of h.
WITH points AS (
    SELECT
        model,
        prompt AS unit,
        max(relative_orthogonal_magnitude ** 2) FILTER (space = 'logit')
        / nullif(max(relative_orthogonal_magnitude ** 2) FILTER (space = 'embedding'), 0) AS factor
    FROM sublayer_trace
    WHERE sublayer = 'attn'
    GROUP BY model, prompt, step, block
)

SELECT
    model,
    '' AS subject,
    unit,
    median(factor) AS measured
FROM points
GROUP BY ALL
ORDER BY ALL
