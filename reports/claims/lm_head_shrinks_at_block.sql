-- Per prompt: the median over steps of the relative orthogonal magnitude of z divided by that of h, at one block.
SELECT
    model,
    '' AS subject,
    prompt AS unit,
    median(factor) AS measured
FROM lm_head_factors
WHERE block = $block
GROUP BY ALL
ORDER BY ALL
