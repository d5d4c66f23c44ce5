-- Table 1. Every variant beside dense, task by task, on the same items.
-- One row per (model, variant, family, task), and one per family with task NULL, the mean over its
-- tasks; scores from 0 to 1, the paper's from 0 to 100 as printed.
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

    UNION ALL BY NAME

    SELECT
        model,
        variant,
        'retrieval' AS family,
        retrieval_set AS task,
        'ndcg_at_10' AS metric,
        query AS item,
        ndcg_at_10 AS outcome
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

SELECT *
FROM outcomes
INNER JOIN dense USING (model, family, task, item)
WHERE variant <> 'dense';

-- Means of items drawn again, the same places for dense and variant; independent between tasks.
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
)

SELECT
    model,
    variant,
    family,
    task,
    draw,
    resampled_mean(outcomes, hash(task, draw)) AS score,
    resampled_mean(dense_outcomes, hash(task, draw)) AS dense_score
FROM listed
CROSS JOIN range(1000) AS draws (draw);

-- Mean over the tasks of a family, as the paper's averages are.
CREATE TEMP TABLE family_drawn AS
SELECT
    model,
    variant,
    family,
    draw,
    avg(score) AS score,
    avg(dense_score) AS dense_score
FROM drawn
GROUP BY ALL;

-- An item is right at an outcome of 0.5 or more; only outcomes of 0 and 1 are tested.
CREATE TEMP TABLE compared AS
WITH graded AS (
    SELECT
        model,
        family,
        task,
        bool_or(outcome NOT IN (0, 1) OR dense_outcome NOT IN (0, 1)) AS graded
    FROM paired
    GROUP BY ALL
),

tasks AS (
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
        count(*) FILTER (dense_outcome < 0.5 AND outcome >= 0.5) AS to_right
    FROM paired
    GROUP BY ALL
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

family_intervals AS (
    SELECT
        model,
        variant,
        family,
        quantile_cont(score - dense_score, 0.025) AS low,
        quantile_cont(score - dense_score, 0.975) AS high
    FROM family_drawn
    GROUP BY ALL
)

SELECT
    tasks.*,
    low,
    high,
    if(graded, NULL, mcnemar(to_wrong, to_right)) AS mcnemar_p,
    1 AS n_tasks
FROM tasks
INNER JOIN intervals USING (model, variant, family, task)
INNER JOIN graded USING (model, family, task)

UNION ALL BY NAME

SELECT
    model,
    variant,
    family,
    sum(n_items)::BIGINT AS n_items,
    avg(dense_score) AS dense_score,
    avg(score) AS score,
    sum(to_wrong)::BIGINT AS to_wrong,
    sum(to_right)::BIGINT AS to_right,
    any_value(low) AS low,
    any_value(high) AS high,
    count(*) AS n_tasks
FROM tasks
INNER JOIN family_intervals USING (model, variant, family)
GROUP BY ALL;

CREATE TEMP VIEW printed AS
SELECT
    model AS paper_model,
    family,
    nullif(task, 'average') AS task,
    variant,
    score AS paper_score,
    max(score) FILTER (variant = 'dense') OVER (PARTITION BY model, family, task)
        AS paper_dense_score,
    count(DISTINCT task) OVER (PARTITION BY model, family) - 1 AS paper_n_tasks
FROM paper_values;

SELECT
    compared.*,
    paper_model,
    paper_dense_score,
    paper_score,
    paper_n_tasks,
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
LEFT JOIN printed
    ON
        compared.family = printed.family
        AND compared.task IS NOT DISTINCT FROM printed.task
        AND compared.variant = printed.variant
LEFT JOIN variant_cost
    ON compared.model = variant_cost.model AND compared.variant = variant_cost.variant
ORDER BY
    compared.model, compared.variant, compared.family = 'retrieval', compared.family DESC,
    compared.task NULLS LAST;

-- Findings: does generation keep less of dense's mean score than choosing does, on the same
-- variant? A verdict where the interval of the two shares' difference leaves out zero.
WITH shares AS (
    SELECT
        model,
        variant,
        draw,
        max(score / dense_score) FILTER (family = 'generative')
        - max(score / dense_score) FILTER (family = 'non_generative') AS gap
    FROM family_drawn
    WHERE dense_score > 0
    GROUP BY ALL
),

gaps AS (
    SELECT
        model,
        variant,
        quantile_cont(gap, 0.025) AS low,
        quantile_cont(gap, 0.975) AS high
    FROM shares
    WHERE gap IS NOT NULL
    GROUP BY ALL
),

kept AS (
    SELECT
        model,
        variant,
        family,
        score / dense_score AS share,
        paper_score / paper_dense_score AS paper_share
    FROM compared
    LEFT JOIN printed USING (variant, family)
    WHERE compared.task IS NULL AND printed.task IS NULL AND dense_score > 0
),

families AS (
    SELECT
        model,
        variant,
        max(share) FILTER (family = 'non_generative') AS choosing,
        max(share) FILTER (family = 'generative') AS writing,
        max(paper_share) FILTER (family = 'non_generative') AS paper_choosing,
        max(paper_share) FILTER (family = 'generative') AS paper_writing
    FROM kept
    GROUP BY ALL
)

SELECT
    model,
    format(
        '{}: of dense''s mean score, tasks that choose keep {:.0f} % and tasks that write {:.0f} %; '
        'the interval of the difference is {:.0f} to {:.0f} points{}.{}',
        variant,
        100 * choosing,
        100 * writing,
        100 * low,
        100 * high,
        if(low <= 0 AND high >= 0, ' and holds zero: no verdict', ''),
        coalesce(
            format(
                ' The paper prints scores of {:.0f} % and {:.0f} % of dense''s on its model.',
                100 * paper_choosing,
                100 * paper_writing
            ),
            ''
        )
    ) AS finding,
    CASE WHEN high < 0 THEN TRUE WHEN low > 0 THEN FALSE END AS agrees
FROM families
INNER JOIN gaps USING (model, variant)
ORDER BY model, variant;

-- Findings: which tests see a difference.
SELECT
    model,
    format(
        '{}: {} of {} exact McNemar tests are below 0.05{}; that many tests of nothing would give '
        '{:.1f}.',
        variant,
        count(*) FILTER (mcnemar_p < 0.05),
        count(*),
        coalesce(
            ' (' || string_agg(
                format('{} p = {:.2g}', task, mcnemar_p), ', '
                ORDER BY mcnemar_p, task
            ) FILTER (mcnemar_p < 0.05) || ')',
            ''
        ),
        0.05 * count(*)
    ) AS finding,
    NULL::BOOLEAN AS agrees
FROM compared
WHERE mcnemar_p IS NOT NULL
GROUP BY model, variant
ORDER BY model, variant;

-- Findings: retrieval.
SELECT
    model,
    format(
        '{}: retrieval keeps {:.0f} % of dense''s mean nDCG@10 over {} sets, {:+.1f} points '
        '({:+.1f} to {:+.1f}).{}',
        variant,
        100 * score / dense_score,
        n_tasks,
        100 * (score - dense_score),
        100 * low,
        100 * high,
        coalesce(
            format(
                ' The paper prints {:.0f} % on its model.', 100 * paper_score / paper_dense_score
            ),
            ''
        )
    ) AS finding,
    NULL::BOOLEAN AS agrees
FROM compared
LEFT JOIN printed USING (variant, family)
WHERE family = 'retrieval' AND compared.task IS NULL AND printed.task IS NULL AND dense_score > 0
ORDER BY model, variant;

-- Findings: tasks that failed, which are in no row.
SELECT
    model,
    format('{}: {} gave no score: {}.', variant, task, rtrim(error, '.')) AS finding,
    NULL::BOOLEAN AS agrees
FROM task_scores
WHERE error IS NOT NULL
ORDER BY model, variant, task;
