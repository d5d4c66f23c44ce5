-- Extension. The relative output error of compressed linears over depth, by method and strength.
-- One row per (model, variant, sublayer, block): root mean square over the linears of the sublayer.
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

-- Findings: the method with the smallest error at each strength, and on how many linears.
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
        'At {} the median error over all linears is {}. On {:.0f} % of them {} has the smallest '
        'error.',
        strength,
        string_agg(format('{:.3f} ({})', error, method), ', ' ORDER BY error),
        100 * max(best),
        arg_max(method, best)
    ) AS finding
FROM methods
GROUP BY model, strength
HAVING count(*) > 1
ORDER BY model, strength;
