-- How much of a model each variant of a sweep drops or zeroes.
-- One row per (model, variant): kind of compression, amount, its place from mild to strong, and both in words.
SELECT
    model,
    variant,
    part_name(dropped) || 's dropped' AS kind,
    n_drop AS place,
    format('{}', n_drop) AS amount,
    format('{} {}{}', n_drop, part_name(dropped), if(n_drop = 1, '', 's')) AS named
FROM drop_sizes
WHERE n_drop > 0

UNION ALL

SELECT
    model,
    variant,
    CASE method
        WHEN 'sparsegpt' THEN 'SparseGPT'
        WHEN 'wanda' THEN 'Wanda'
        ELSE method
    END AS kind,
    place,
    pattern AS amount,
    kind || ' ' || pattern AS named
FROM zeroed_patterns
WHERE place > 0
