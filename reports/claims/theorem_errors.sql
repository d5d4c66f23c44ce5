-- Per prompt: the median over steps and blocks of the estimate's relative error.
SELECT
    model,
    '' AS subject,
    prompt AS unit,
    median(error) AS measured
FROM attention_estimates
WHERE quantity = $quantity AND space = $space AND measured > 0
GROUP BY ALL
ORDER BY ALL
