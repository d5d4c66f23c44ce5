-- Table 1. Each variant compared with dense, task by task, on the same items.
-- One row per (model, variant, family, task), and one per family, with task NULL, for the mean over
-- its tasks. Scores are from 0 to 1; the paper's are from 0 to 100, as printed.
CREATE TEMP TABLE paired AS
WITH outcomes AS (
    SELECT
        model,
        variant,
        family,
        task,
        metric,
        n_shot,
        subtask || '/' || item AS item,
        outcome
    FROM task_samples
    INNER JOIN task_scores USING (model, variant, suite, task, metric, filter)
    WHERE headline AND higher_is_better

    UNION ALL

    SELECT
        model,
        variant,
        'retrieval' AS kind,
        retrieval_set,
        'ndcg_at_10' AS metric,
        NULL AS n_shot,
        query,
        ndcg_at_10
    FROM retrieval_samples
),

dense AS (
    SELECT
        model,
        family,
        task,
        item,
        outcome AS dense_outcome
    FROM outcomes
    WHERE variant = 'dense'
)

SELECT
    model,
    variant,
    family,
    task,
    metric,
    n_shot,
    item,
    dense_outcome,
    outcome,
    bool_or(dense_outcome NOT IN (0, 1) OR outcome NOT IN (0, 1))
        OVER (PARTITION BY model, family, task)
        AS graded
FROM outcomes
INNER JOIN dense USING (model, family, task, item)
WHERE variant <> 'dense';

-- Means of bootstrap samples of items. Dense and variant share a sample; tasks are sampled
-- independently. For a family (task NULL) it is the mean over its tasks, like the paper's averages.
CREATE TEMP TABLE drawn AS
WITH listed AS (
    SELECT
        model,
        variant,
        family,
        task,
        list(outcome ORDER BY item) AS outcomes,
        list(dense_outcome ORDER BY item) AS dense_outcomes
    FROM paired
    GROUP BY ALL
),

draws AS (
    SELECT
        model,
        variant,
        family,
        task,
        unnest(range(1000)) AS draw,
        outcomes,
        dense_outcomes
    FROM listed
)

SELECT
    model,
    variant,
    family,
    task,
    draw,
    avg(resampled_mean(outcomes, hash(task, draw))) AS score,
    avg(resampled_mean(dense_outcomes, hash(task, draw))) AS dense_score
FROM draws
GROUP BY
    GROUPING SETS ((model, variant, family, task, draw), (model, variant, family, draw));

-- An item is right if its outcome is at least 0.5. Only outcomes of 0 and 1 are tested.
CREATE TEMP TABLE compared AS
WITH tasks AS (
    SELECT
        model,
        variant,
        family,
        task,
        metric,
        n_shot,
        count(*) AS n_items,
        avg(dense_outcome) AS dense_score,
        avg(outcome) AS score,
        count(*) FILTER (dense_outcome >= 0.5 AND outcome < 0.5) AS to_wrong,
        count(*) FILTER (dense_outcome < 0.5 AND outcome >= 0.5) AS to_right,
        bool_or(graded) AS graded
    FROM paired
    GROUP BY ALL
),

scores AS (
    SELECT
        model,
        variant,
        family,
        task,
        metric,
        n_shot,
        count(*) AS n_tasks,
        sum(n_items)::BIGINT AS n_items,
        avg(dense_score) AS dense_score,
        avg(score) AS score,
        sum(to_wrong)::BIGINT AS to_wrong,
        sum(to_right)::BIGINT AS to_right,
        bool_or(graded) AS graded
    FROM tasks
    GROUP BY
        GROUPING SETS ((model, variant, family, task, metric, n_shot), (model, variant, family))
),

intervals AS (
    SELECT
        model,
        variant,
        family,
        task,
        quantile_cont(score - dense_score, 0.025) AS low,
        quantile_cont(score - dense_score, 0.975) AS high
    FROM drawn
    GROUP BY ALL
),

cuts AS (
    SELECT
        model,
        variant,
        family,
        task,
        max(n_cut) AS n_cut
    FROM task_scores
    GROUP BY ALL

    UNION ALL

    SELECT
        model,
        variant,
        'retrieval' AS kind,
        retrieval_set,
        count(*) FILTER (n_cut > 0) AS n_cut
    FROM retrieval_samples
    GROUP BY ALL
),

printed AS (
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
)

SELECT
    scores.model,
    scores.variant,
    scores.family,
    scores.task,
    metric,
    n_shot,
    n_items,
    coalesce(n_cut, 0) AS n_cut,
    n_tasks,
    dense_score,
    score,
    low,
    high,
    to_wrong,
    to_right,
    if(graded OR scores.task IS NULL, NULL, mcnemar(to_wrong, to_right)) AS mcnemar_p,
    paper_model,
    paper_n_tasks,
    paper_dense_score,
    paper_score
FROM scores
INNER JOIN intervals
    ON
        scores.model = intervals.model
        AND scores.variant = intervals.variant
        AND scores.family = intervals.family
        AND scores.task IS NOT DISTINCT FROM intervals.task
LEFT JOIN cuts
    ON
        scores.model = cuts.model
        AND scores.variant = cuts.variant
        AND scores.family = cuts.family
        AND scores.task = cuts.task
LEFT JOIN printed
    ON
        scores.variant = printed.variant
        AND scores.family = printed.family
        AND coalesce(scores.task, 'average') = printed.task;

SELECT
    model,
    variant,
    family,
    task,
    metric,
    n_shot,
    n_items,
    n_cut,
    n_tasks,
    dense_score,
    score,
    low,
    high,
    to_wrong,
    to_right,
    mcnemar_p,
    paper_model,
    paper_n_tasks,
    paper_dense_score,
    paper_score,
    parameters,
    parameters_dense,
    kv_cache_bytes_per_token,
    kv_cache_bytes_per_token_dense,
    prefill_tokens_per_second,
    prefill_tokens_per_second_dense,
    decode_tokens_per_second,
    decode_tokens_per_second_dense,
    device,
    threads
FROM compared
LEFT JOIN variant_cost USING (model, variant)
ORDER BY
    bool_and(family = 'retrieval') OVER (PARTITION BY model, variant) ASC,
    model ASC,
    variant ASC,
    family = 'retrieval' ASC,
    family DESC,
    task IS NULL ASC,
    task ASC;

-- Findings: whether generation tasks keep less of the dense mean score than multiple-choice tasks.
WITH gaps AS (
    SELECT
        model,
        variant,
        max(score / nullif(dense_score, 0)) FILTER (family = 'generative')
        - max(score / nullif(dense_score, 0)) FILTER (family = 'non_generative') AS gap
    FROM drawn
    WHERE task IS NULL
    GROUP BY model, variant, draw
),

intervals AS (
    SELECT
        model,
        variant,
        quantile_cont(gap, 0.025) AS low,
        quantile_cont(gap, 0.975) AS high
    FROM gaps
    WHERE gap IS NOT NULL
    GROUP BY ALL
),

shares AS (
    SELECT
        model,
        variant,
        family,
        score / nullif(dense_score, 0) AS kept,
        paper_score / paper_dense_score AS paper_kept
    FROM compared
    WHERE task IS NULL
),

families AS (
    SELECT
        model,
        variant,
        max(kept) FILTER (family = 'non_generative') AS choosing,
        max(kept) FILTER (family = 'generative') AS writing,
        max(paper_kept) FILTER (family = 'non_generative') AS paper_choosing,
        max(paper_kept) FILTER (family = 'generative') AS paper_writing
    FROM shares
    GROUP BY ALL
)

SELECT
    model,
    format(
        '{}: multiple-choice tasks keep {:.0f} % of the dense model''s mean score, generation '
        'tasks {:.0f} %. The 95 % interval of the difference is {:.0f} to {:.0f} points.{}',
        variant,
        100 * choosing,
        100 * writing,
        100 * low,
        100 * high,
        coalesce(
            format(
                ' In the paper, on its model, the two shares are {:.0f} % and {:.0f} %.',
                100 * paper_choosing,
                100 * paper_writing
            ),
            ''
        )
    ) AS finding
FROM families
INNER JOIN intervals USING (model, variant)
ORDER BY model, variant;

-- Findings: tests with p < 0.05, and how many could reach it: with five flips p is at least 0.06.
SELECT
    model,
    format(
        '{}: {} of {} exact McNemar tests have p < 0.05{}. That takes at least six flips; the '
        'number of tasks with so many is {}.',
        variant,
        count(*) FILTER (mcnemar_p < 0.05),
        count(*),
        coalesce(
            ' (' || string_agg(
                format('{}: {:.2g}', task, mcnemar_p), ', '
                ORDER BY mcnemar_p, task
            ) FILTER (mcnemar_p < 0.05) || ')',
            ''
        ),
        count(*) FILTER (to_wrong + to_right >= 6)
    ) AS finding
FROM compared
WHERE mcnemar_p IS NOT NULL
GROUP BY model, variant
ORDER BY model, variant;

-- Findings: the retrieval score that is left.
SELECT
    model,
    format(
        '{}: retrieval keeps {:.0f} % of the dense model''s mean nDCG@10 over {}, a change of '
        '{:+.1f} points (95 % interval {:+.1f} to {:+.1f}).{}',
        variant,
        100 * score / dense_score,
        if(n_tasks = 1, '1 set', format('{} sets', n_tasks)),
        100 * (score - dense_score),
        100 * low,
        100 * high,
        coalesce(
            format(
                ' In the paper, on its model, it keeps {:.0f} %.',
                100 * paper_score / paper_dense_score
            ),
            ''
        )
    ) AS finding
FROM compared
WHERE family = 'retrieval' AND task IS NULL AND dense_score > 0
ORDER BY model, variant;
