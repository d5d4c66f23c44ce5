-- Figure 9. Scores of SparseGPT at every pattern, each task's headline metric, beside dense.
-- One row per (model, variant, task): score with its 95 % interval, and as a share of dense's.
SELECT
    model,
    variant,
    pattern,
    task,
    metric,
    family,
    n_shot,
    n_items,
    score,
    low,
    high,
    share_of_dense
FROM pattern_scores
WHERE method = 'sparsegpt'
ORDER BY model, place, task;

-- Findings: what each family keeps.
SELECT
    model,
    finding,
    agrees
FROM pattern_findings
WHERE method = 'sparsegpt'
ORDER BY model, variant;
