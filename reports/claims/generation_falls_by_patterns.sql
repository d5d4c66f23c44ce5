-- Per variant with zeroed weights: by how much the share that multiple-choice tasks keep exceeds that of generation.
SELECT
    model,
    variant
    || if(
        min(suite) OVER (PARTITION BY model) = max(suite) OVER (PARTITION BY model),
        '',
        ', suite ' || suite
    ) AS subject,
    n_items AS n,
    difference AS measured,
    difference_low AS low,
    difference_high AS high,
    p_value
FROM score_difference
INNER JOIN zeroed_patterns USING (model, variant)
WHERE scope = 'contrast'
ORDER BY model, place
