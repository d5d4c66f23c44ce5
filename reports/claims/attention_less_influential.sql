-- Per block: the influence of its attention minus that of its MLP.
SELECT
    model,
    '' AS subject,
    block AS unit,
    max(influence) FILTER (sublayer = 'attn') - max(influence) FILTER (sublayer = 'mlp') AS measured
FROM influence
GROUP BY model, block
ORDER BY ALL
