-- Extension. Relative output error of compressed linears over depth, by method and strength.
-- One row per (model, variant, sublayer, block); root mean square over the sublayer's linears.
SELECT
    report.model,
    report.variant,
    report.method,
    coalesce(
        run.settings ->> '$.pattern',
        format('{} bits', run.settings ->> '$.bits'),
        format('{:.0f} %', 100 * (run.settings ->> '$.sparsity')::DOUBLE)
    ) AS strength,
    report.sublayer,
    report.block,
    nullif(sqrt(avg(report.relative_output_error ** 2)), 0) AS error,
    avg(report.sparsity) AS sparsity
FROM compression_report AS report
INNER JOIN compression_run AS run USING (model, variant)
WHERE report.relative_output_error IS NOT NULL
GROUP BY ALL
ORDER BY ALL;

-- Findings: who errs least at each strength, and whether on every linear.
WITH linears AS (
    SELECT
        report.model,
        report.method,
        report.block,
        report.linear,
        coalesce(
            run.settings ->> '$.pattern',
            format('{} bits', run.settings ->> '$.bits'),
            format('{:.0f} %', 100 * (run.settings ->> '$.sparsity')::DOUBLE)
        ) AS strength,
        report.relative_output_error AS error,
        min(report.relative_output_error) OVER (
            PARTITION BY report.model, strength, report.block, report.linear
        ) AS smallest
    FROM compression_report AS report
    INNER JOIN compression_run AS run USING (model, variant)
    WHERE report.relative_output_error IS NOT NULL
),

methods AS (
    SELECT
        model,
        strength,
        method,
        median(error) AS error,
        avg((error = smallest)::INT) AS best
    FROM linears
    GROUP BY model, strength, method
)

SELECT
    model,
    format(
        'At {}: median error over all linears {}; {} errs least on {:.0f} % of them.',
        strength,
        string_agg(format('{} {:.3f}', method, error), ', ' ORDER BY error),
        arg_max(method, best),
        100 * max(best)
    ) AS finding,
    NULL::BOOLEAN AS agrees
FROM methods
GROUP BY model, strength
HAVING count(*) > 1
ORDER BY model, strength;
