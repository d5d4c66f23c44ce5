-- What and how much each variant drops. Dense drops 0 of each kind that its model's variants drop.
-- One row per (model, variant, dropped, n_drop); dropped is attn, mlp or block.
WITH sizes AS (
    SELECT
        model,
        variant,
        if(method = 'block_drop', 'block', settings ->> 'sublayer') AS dropped,
        try_cast(settings ->> 'n_drop' AS INT) AS n_drop
    FROM compression_run
    WHERE method IN ('sublayer_drop', 'block_drop') AND settings ->> 'n_drop' <> 'all'
)

SELECT
    model,
    variant,
    dropped,
    n_drop
FROM sizes

UNION ALL BY NAME

SELECT DISTINCT
    model,
    compression_run.variant,
    dropped,
    0 AS n_drop
FROM compression_run
INNER JOIN sizes USING (model)
WHERE method = 'identity'
