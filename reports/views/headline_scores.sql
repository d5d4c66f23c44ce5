-- The headline score of each task with its 95 % interval, and its share of the dense score.
-- One row per (model, variant, task). Metrics of which less is better (perplexities) are left out.
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
