-- Figure 9. The headline score of each task under each pattern of SparseGPT, and the dense score.
-- One row per (model, variant, task): the score with its 95 % interval, and its share of the dense score.
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
