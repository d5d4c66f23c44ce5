-- Per prompt: the share of steps and blocks at which one space deviates less than p, by 1 - cos.
WITH points AS (
    SELECT
        model,
        prompt AS unit,
        max(measured) FILTER (space = 'probability') AS probability,
        max(measured) FILTER (space = $space) AS deviation
    FROM attention_estimates
    WHERE quantity = 'angular_deviation'
    GROUP BY model, variant, prompt, step, block
)

SELECT
    model,
    '' AS subject,
    unit,
    avg((deviation < probability)::INT) AS measured
FROM points
GROUP BY ALL
ORDER BY ALL
