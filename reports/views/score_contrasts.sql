-- By how much the share above chance that multiple-choice tasks keep exceeds that of generation tasks.
-- One row per (model, variant, suite), with the columns of given evidence; in_suite names the suite where a
-- model has several.
SELECT
    model,
    variant,
    suite,
    n_items AS n,
    difference AS measured,
    difference_low AS low,
    difference_high AS high,
    p_value,
    if(
        min(suite) OVER (PARTITION BY model) = max(suite) OVER (PARTITION BY model),
        '',
        ', suite ' || suite
    ) AS in_suite
FROM score_difference
WHERE scope = 'contrast'
