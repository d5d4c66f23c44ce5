-- Figure 1. Scores against the number of dropped sublayers or blocks, each task's headline metric.
-- One row per (model, dropped, task, n_drop), dense as n_drop 0; score with its 95 % interval, and
-- as a share of dense's.
SELECT
    model,
    dropped,
    task,
    metric,
    family,
    n_shot,
    n_items,
    n_drop,
    score,
    low,
    high,
    share_of_dense
FROM headline_scores
INNER JOIN drop_sizes USING (model, variant)
ORDER BY model, dropped, task, n_drop;

-- Findings: what is left of each family where a few and where many are dropped.
SELECT
    model,
    format(
        '{} {} dropped: {} The paper finds that generation falls first.',
        n_drop,
        parts_called(dropped),
        kept_by_families(choosing, writing)
    ) AS finding,
    writing < choosing AS agrees
FROM family_shares
INNER JOIN drop_sizes USING (model, variant)
WHERE n_drop IN (4, 8)
ORDER BY model, dropped, n_drop;
