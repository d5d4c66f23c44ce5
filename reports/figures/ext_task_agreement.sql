-- Extension. What scores do not show: items whose outcome flips, and answers that change.
-- One row per (model, family, task, variant), including dense. Numbers are shares of items unless a
-- caption says otherwise.
CREATE TEMP TABLE compared AS
WITH answers AS (
    SELECT
        model,
        variant,
        method,
        family,
        task,
        metric,
        n_shot,
        subtask || '/' || item AS item,
        outcome,
        response,
        token_ids,
        stopped,
        repeated_ngram_share,
        distinct_2,
        longest_loop / task_samples.n_tokens AS looping
    FROM task_samples
    INNER JOIN task_scores USING (model, variant, suite, task, metric, filter)
    INNER JOIN compression_run USING (model, variant)
    WHERE headline AND higher_is_better
),

dense AS (
    SELECT
        model,
        task,
        item,
        outcome AS dense_outcome,
        response AS dense_response,
        token_ids AS dense_token_ids
    FROM answers
    WHERE method = 'identity'
)

SELECT
    model,
    family,
    task,
    variant,
    method,
    metric,
    n_shot,
    count(*) AS n_items,
    avg(dense_outcome) AS dense_score,
    avg(outcome) AS score,
    avg(dense_outcome) - avg(outcome) AS score_lost,
    avg((dense_outcome >= 0.5 AND outcome < 0.5)::INT) AS to_wrong,
    avg((dense_outcome < 0.5 AND outcome >= 0.5)::INT) AS to_right,
    avg(((dense_outcome >= 0.5) <> (outcome >= 0.5))::INT) AS flipped,
    avg((response <> dense_response)::INT) AS answers_changed,
    avg(1 - equal_share(dense_token_ids, token_ids)) AS tokens_changed,
    median(first_divergence(dense_token_ids, token_ids)) AS parted,
    avg(repeated_ngram_share) AS repeated,
    avg(looping) AS looping,
    avg(distinct_2) AS distinct_2,
    avg(stopped::INT) AS stopped
FROM answers
INNER JOIN dense USING (model, task, item)
GROUP BY ALL;

SELECT
    model,
    family,
    task,
    variant,
    method,
    metric,
    n_shot,
    n_items,
    dense_score,
    score,
    score_lost,
    to_wrong,
    to_right,
    flipped,
    answers_changed,
    tokens_changed,
    parted,
    repeated,
    looping,
    distinct_2,
    stopped
FROM compared
ORDER BY model ASC, family DESC, task ASC, method = 'identity' DESC, variant ASC;

-- Findings: generation tasks on which the dense score is at most 10 %, so that it can hardly fall.
WITH dense AS (
    SELECT
        model,
        task,
        repeated AS dense_repeated
    FROM compared
    WHERE method = 'identity'
)

SELECT
    model,
    format(
        '{}: on tasks that the dense model hardly solves ({}), the mean score is {:.1f} % (dense '
        '{:.1f} %) and {:.1f} % of outcomes flip. {:.0f} % of answers change; {:.0f} % of tokens '
        'differ from the dense model''s, and {:.0f} % of 4-grams are repetitions (dense {:.0f} %).',
        variant,
        string_agg(task, ', ' ORDER BY task),
        100 * avg(score),
        100 * avg(dense_score),
        100 * avg(flipped),
        100 * avg(answers_changed),
        100 * avg(tokens_changed),
        100 * avg(repeated),
        100 * avg(dense_repeated)
    ) AS finding
FROM compared
INNER JOIN dense USING (model, task)
WHERE family = 'generative' AND dense_score <= 0.1 AND method <> 'identity'
GROUP BY model, variant
ORDER BY model, variant;

-- Findings: the change of the mean score and the flips behind it, by family.
SELECT
    model,
    format(
        '{}, {} tasks: the mean score changes by {:+.1f} points; {:.1f} % of items flip to wrong '
        'and {:.1f} % to right. {:.0f} % of answers differ from the dense model''s.',
        variant,
        if(family = 'generative', 'generation', 'multiple-choice'),
        0 - 100 * avg(score_lost), -- zero without a minus sign
        100 * avg(to_wrong),
        100 * avg(to_right),
        100 * avg(answers_changed)
    ) AS finding
FROM compared
WHERE method <> 'identity'
GROUP BY model, variant, family
ORDER BY model ASC, variant ASC, family DESC;
