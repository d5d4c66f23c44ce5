-- Per prompt: the median over steps and blocks of the magnitude ratio of z divided by that of h.
SELECT
    model,
    '' AS subject,
    prompt AS unit,
    median(factor ** 2) AS measured
FROM lm_head_factors
GROUP BY ALL
ORDER BY ALL
