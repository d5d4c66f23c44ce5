-- Per kind of sublayer and prompt: the share of steps and blocks at which p deviates more than h and z.
SELECT
    model,
    subject,
    prompt AS unit,
    avg((probability > greatest(embedding, logit))::INT) AS measured
FROM spaces_compared
INNER JOIN compression_run USING (model, variant)
WHERE method = 'wanda'
GROUP BY ALL
ORDER BY ALL
