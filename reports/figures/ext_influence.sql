-- Extension. The influence of each sublayer and block, and the variants that drop it.
-- One row per (model, sublayer, block, variant); the variant is NULL if none ranks the part.
SELECT
    influence.model,
    influence.sublayer,
    influence.block,
    nullif(influence.influence, 0) AS influence, -- a logarithmic axis has no zero
    report.variant,
    report.n_drop,
    report.removed
FROM influence
LEFT JOIN compression_report AS report USING (model, sublayer, block)
ORDER BY model, sublayer, n_drop, variant, block;

-- Findings: the least influential parts of each kind, and attention compared with MLPs.
WITH kinds AS (
    SELECT
        model,
        block,
        influence,
        sublayer AS kind
    FROM influence
),

halves AS (
    SELECT
        model,
        block,
        max(influence) FILTER (sublayer = 'attn') AS attn,
        max(influence) FILTER (sublayer = 'mlp') AS mlp
    FROM influence
    GROUP BY model, block
),

findings AS (
    SELECT
        model,
        1 AS place,
        kind,
        format(
            'Among {}, the influence is smallest at block {} (in ascending order) and largest at '
            'block {}. It ranges from {:.4f} to {:.3f}.',
            counted_parts(count(*), kind),
            array_to_string(arg_min(block, influence, 8), ', '),
            arg_max(block, influence),
            min(influence),
            max(influence)
        ) AS finding
    FROM kinds
    GROUP BY model, kind

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        '' AS kind,
        format(
            'Attention is less influential than the MLP at {} of {} blocks. The median influence '
            'is {:.4f} for attention and {:.4f} for MLPs.',
            count(*) FILTER (attn < mlp),
            count(*),
            median(attn),
            median(mlp)
        ) AS finding
    FROM halves
    GROUP BY model
)

SELECT
    model,
    finding
FROM findings
ORDER BY model, place, kind;
