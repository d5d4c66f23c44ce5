-- Per pattern and linear: SparseGPT's relative output error divided by Wanda's.
SELECT
    report.model,
    coalesce(
        run.settings ->> '$.pattern',
        format('{:.0f} %', 100 * (run.settings ->> '$.sparsity')::DOUBLE)
    ) AS subject,
    report.block || ' ' || report.linear AS unit,
    max(report.relative_output_error) FILTER (report.method = 'sparsegpt')
    / nullif(max(report.relative_output_error) FILTER (report.method = 'wanda'), 0) AS measured
FROM compression_report AS report
INNER JOIN compression_run AS run USING (model, variant)
WHERE report.method IN ('wanda', 'sparsegpt') AND report.relative_output_error IS NOT NULL
GROUP BY ALL
HAVING measured IS NOT NULL
ORDER BY ALL
