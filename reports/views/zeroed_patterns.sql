-- The method and pattern of each variant with zeroed weights. Dense is listed under each method.
-- One row per (model, method, variant); place orders patterns from dense to the strictest.
WITH zeroed AS (
    SELECT
        model,
        variant,
        method,
        coalesce(
            settings ->> 'pattern',
            format('{:.0f} %', 100 * cast(settings ->> 'sparsity' AS DOUBLE))
        ) AS pattern
    FROM compression_run
    WHERE method IN ('magnitude', 'wanda', 'sparsegpt')
)

SELECT
    model,
    method,
    variant,
    pattern,
    dense_rank() OVER (ORDER BY pattern LIKE '%:%' ASC, pattern DESC) AS place
FROM zeroed

UNION ALL BY NAME

SELECT DISTINCT
    model,
    zeroed.method,
    compression_run.variant,
    'dense' AS pattern,
    0 AS place
FROM compression_run
INNER JOIN zeroed USING (model)
WHERE compression_run.method = 'identity'
