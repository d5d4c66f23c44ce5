-- Items whose headline outcome in a variant differs from dense's, the first $most of each model and task.
-- One row per (model, suite, task, subtask, item, variant); asked counts the items of the task, changed those that
-- differ in any variant.
WITH headlines AS (
    SELECT DISTINCT
        model,
        suite,
        task,
        metric,
        filter
    FROM task_scores
    WHERE headline AND higher_is_better AND variant = 'dense'
),

answers AS (
    SELECT task_samples.*
    FROM task_samples
    INNER JOIN headlines USING (model, suite, task, metric, filter)
),

dense AS (
    SELECT
        *,
        count(*) OVER (PARTITION BY model, suite, task) AS asked
    FROM answers
    WHERE variant = 'dense'
),

changed AS (
    SELECT
        dense.model,
        dense.suite,
        dense.task,
        dense.subtask,
        dense.item,
        dense.context,
        dense.options,
        dense.target,
        dense.response AS dense_response,
        dense.outcome AS dense_outcome,
        answers.variant,
        answers.response,
        answers.outcome,
        dense.asked,
        dense_rank() OVER (
            PARTITION BY dense.model, dense.suite, dense.task ORDER BY dense.subtask, dense.item
        ) AS place
    FROM dense
    INNER JOIN answers USING (model, suite, task, subtask, item)
    WHERE answers.outcome <> dense.outcome
)

SELECT
    *,
    max(place) OVER (PARTITION BY model, suite, task) AS changed
FROM changed
QUALIFY place <= $most
ORDER BY model, suite, task, place, variant
