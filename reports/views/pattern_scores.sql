-- Scores of variants with zeroed weights, by method and pattern, and dense's among them.
-- One row per (model, method, variant, task); place orders patterns from dense to the strictest.
SELECT
    model,
    method,
    variant,
    coalesce(
        settings ->> 'pattern',
        format('{:.0f} %', 100 * cast(settings ->> 'sparsity' AS DOUBLE)),
        'dense'
    ) AS pattern,
    row_number() OVER (
        ORDER BY method = 'identity' DESC, pattern LIKE '%:%' ASC, pattern DESC
    ) AS place,
    task,
    metric,
    family,
    n_shot,
    n_items,
    score,
    low,
    high,
    share_of_dense
FROM headline_scores
INNER JOIN compression_run USING (model, variant)
WHERE method IN ('identity', 'magnitude', 'wanda', 'sparsegpt')
