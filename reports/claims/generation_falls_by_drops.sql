-- Per number of dropped parts: by how much the share that multiple-choice tasks keep exceeds that of generation.
SELECT
    model,
    counted_parts(n_drop, dropped) || ' dropped'
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
INNER JOIN drop_sizes USING (model, variant)
WHERE scope = 'contrast' AND n_drop IN (4, 8)
ORDER BY model, dropped, n_drop
