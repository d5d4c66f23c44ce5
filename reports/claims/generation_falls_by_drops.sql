-- Per number of dropped parts: by how much the share that multiple-choice tasks keep exceeds that of generation.
SELECT
    model,
    counted_parts(n_drop, dropped) || ' dropped' || in_suite AS subject,
    n,
    measured,
    low,
    high,
    p_value
FROM score_contrasts
INNER JOIN drop_sizes USING (model, variant)
WHERE n_drop IN (4, 8)
ORDER BY model, dropped, n_drop
