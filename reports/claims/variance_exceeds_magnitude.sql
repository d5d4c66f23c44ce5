-- Per prompt: the share of steps and blocks at which Var_r(Δz) exceeds the magnitude ratio of one space.
SELECT
    model,
    '' AS subject,
    prompt AS unit,
    avg((ratio > 1)::INT) AS measured
FROM variance_ratios
WHERE space = $space AND temperature = 1
GROUP BY ALL
ORDER BY ALL
