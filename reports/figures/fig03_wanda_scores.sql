-- Figure 3. Scores of Wanda at every pattern, each task's headline metric, beside dense.
-- One row per (model, variant, task): score with its 95 % interval, and as a share of dense's.
CREATE TEMP VIEW scored AS
SELECT
    model,
    variant,
    coalesce(
        settings ->> 'pattern',
        format('{:.0f} %', 100 * cast(settings ->> 'sparsity' AS DOUBLE)),
        'dense'
    ) AS pattern,
    method,
    task,
    metric,
    family,
    n_shot,
    n_items,
    score,
    standard_error
FROM task_scores
INNER JOIN compression_run USING (model, variant)
WHERE headline AND score IS NOT NULL AND method IN ('identity', 'wanda');

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
    greatest(score - 1.96 * standard_error, 0) AS low,
    least(score + 1.96 * standard_error, 1) AS high,
    score / nullif(max(score) FILTER (method = 'identity') OVER (PARTITION BY model, task), 0)
        AS share_of_dense
FROM scored
ORDER BY model ASC, method = 'identity' DESC, pattern LIKE '%:%' ASC, pattern DESC, task ASC;

-- Findings: what each family keeps.
WITH dense AS (
    SELECT
        model,
        task,
        score AS dense_score
    FROM scored
    WHERE method = 'identity'
),

kept AS (
    SELECT
        model,
        variant,
        avg(score / nullif(dense_score, 0)) FILTER (family = 'non_generative') AS choosing,
        avg(score / nullif(dense_score, 0)) FILTER (family = 'generative') AS writing
    FROM scored
    INNER JOIN dense USING (model, task)
    WHERE method = 'wanda'
    GROUP BY ALL
)

SELECT
    model,
    format(
        '{}: non-generative tasks keep {:.0f} % of dense''s score on average, the generative one '
        '{:.0f} %.',
        variant,
        100 * choosing,
        100 * writing
    ) AS finding,
    writing < choosing AS agrees
FROM kept
WHERE choosing IS NOT NULL AND writing IS NOT NULL
ORDER BY model, variant;
