-- Every task's headline score with its 95 % interval, and as a share of dense's.
-- One row per (model, variant, task). More is better here: perplexities are left out.
SELECT
    model,
    variant,
    task,
    metric,
    family,
    n_shot,
    n_items,
    score,
    greatest(score - 1.96 * standard_error, 0) AS low,
    least(score + 1.96 * standard_error, 1) AS high,
    score / nullif(max(score) FILTER (variant = 'dense') OVER (PARTITION BY model, task), 0)
        AS share_of_dense
FROM task_scores
WHERE headline AND score IS NOT NULL AND higher_is_better
