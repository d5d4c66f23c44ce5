-- Extension. Influence of every sublayer and block, and the variants that drop it.
-- One row per (model, sublayer, block, variant); variant NULL where no variant ranks it.
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

-- Findings: what each kind loses first, and which kind has less to lose.
WITH kinds AS (
    SELECT
        model,
        block,
        influence,
        CASE sublayer
            WHEN 'attn' THEN 'attention sublayers' WHEN 'mlp' THEN 'MLP sublayers' ELSE 'blocks'
        END AS kind
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

said AS (
    SELECT
        model,
        1 AS place,
        kind,
        format(
            'Of {} {}, the eight least influential are, least first, {}; the most influential is '
            '{} ({:.3f}, against {:.4f} for the least).',
            count(*),
            kind,
            array_to_string(arg_min(block, influence, 8), ', '),
            arg_max(block, influence),
            max(influence),
            min(influence)
        ) AS finding
    FROM kinds
    GROUP BY model, kind

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        '' AS kind,
        format(
            'Attention is less influential than the MLP of the same block at {} of {} blocks; '
            'median influence {:.4f} against {:.4f}.',
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
    finding,
    NULL::BOOLEAN AS agrees
FROM said
ORDER BY model, place, kind;
