-- Per variant with zeroed weights: by how much the share that multiple-choice tasks keep exceeds that of generation.
SELECT
    model,
    variant || in_suite AS subject,
    n,
    measured,
    low,
    high,
    p_value
FROM score_contrasts
INNER JOIN zeroed_patterns USING (model, variant)
ORDER BY model, place
