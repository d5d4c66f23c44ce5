-- How the texts of each variant differ from dense's on the same items, and how they repeat and end.
-- One row per (model, variant, suite, task), including dense: means over items; parted is a median.
WITH answers AS (
    SELECT
        samples.model,
        samples.variant,
        samples.suite,
        samples.task,
        samples.subtask,
        samples.item,
        samples.token_ids,
        samples.stopped,
        samples.repeated_ngram_share,
        samples.distinct_2,
        samples.longest_loop / samples.n_tokens AS looping
    FROM task_samples AS samples
    INNER JOIN task_scores USING (model, variant, suite, task, metric, filter)
    WHERE headline
)

SELECT
    answers.model,
    answers.variant,
    answers.suite,
    answers.task,
    avg(1 - equal_share(dense.token_ids, answers.token_ids)) AS tokens_changed,
    median(first_divergence(dense.token_ids, answers.token_ids)) AS parted,
    avg(answers.repeated_ngram_share) AS repeated,
    avg(answers.looping) AS looping,
    avg(answers.distinct_2) AS distinct_2,
    avg(answers.stopped::INT) AS stopped
FROM answers
INNER JOIN answers AS dense USING (model, suite, task, subtask, item)
WHERE dense.variant = 'dense'
GROUP BY ALL
