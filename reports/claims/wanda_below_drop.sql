-- Per prompt: the mean deviation of hidden states if MLPs are pruned by Wanda, divided by that if they are dropped.
SELECT
    model,
    '' AS subject,
    prompt AS unit,
    avg(angular_deviation) FILTER (method = 'wanda')
    / nullif(avg(angular_deviation) FILTER (method = 'sublayer_drop'), 0) AS measured
FROM sublayer_trace
INNER JOIN compression_run USING (model, variant)
WHERE sublayer = 'mlp' AND space = 'embedding'
GROUP BY ALL
HAVING measured IS NOT NULL
ORDER BY ALL
