-- Figure 1. The headline score of each task against the number of dropped sublayers or blocks.
-- One row per (model, dropped, task, n_drop), dense as n_drop 0: the score with its 95 % interval, and
-- its share of the dense score.
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
