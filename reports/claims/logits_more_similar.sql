-- Per kind of sublayer and prompt: the share of steps and blocks at which z deviates less than h.
SELECT
    model,
    subject,
    prompt AS unit,
    avg((logit < embedding)::INT) AS measured
FROM spaces_compared
GROUP BY ALL
ORDER BY ALL
