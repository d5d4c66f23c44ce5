-- Table 1 of the paper, for its own model: the score of each task and the average of each family as printed, from
-- 0 to 100, with the dense score.
-- One row per (paper_model, family, task, variant); n_tasks is the number of tasks of the family.
SELECT
    model AS paper_model,
    family,
    task,
    variant,
    score AS paper_score,
    max(score) FILTER (variant = 'dense') OVER (PARTITION BY model, family, task)
        AS paper_dense_score,
    count(DISTINCT task) OVER (PARTITION BY model, family) - 1 AS paper_n_tasks
FROM paper_values
