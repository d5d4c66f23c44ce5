-- Figure 1. Scores against the number of dropped sublayers or blocks, each task's headline metric.
-- One row per (model, dropped, task, n_drop), dense as n_drop 0; score with its 95 % interval, and
-- both as a share of dense's score.
WITH sizes AS (
    SELECT
        model,
        variant,
        method,
        coalesce(settings ->> 'sublayer', if(method = 'block_drop', 'block', NULL)) AS dropped,
        coalesce(try_cast(settings ->> 'n_drop' AS INT), 0) AS n_drop
    FROM compression_run
    WHERE
        method IN ('identity', 'sublayer_drop', 'block_drop')
        AND settings ->> 'n_drop' IS DISTINCT FROM 'all'
),

kinds AS (
    SELECT DISTINCT
        model,
        dropped
    FROM sizes
    WHERE dropped IS NOT NULL
),

scored AS (
    SELECT
        model,
        variant,
        task,
        metric,
        family,
        n_shot,
        n_items,
        score,
        standard_error
    FROM task_scores
    WHERE headline AND score IS NOT NULL
),

dropped_scores AS (
    SELECT
        scored.*,
        sizes.dropped,
        sizes.n_drop
    FROM scored
    INNER JOIN sizes USING (model, variant)
    WHERE method <> 'identity'

    UNION ALL BY NAME

    SELECT
        scored.*,
        kinds.dropped,
        0 AS n_drop
    FROM scored
    INNER JOIN sizes USING (model, variant)
    INNER JOIN kinds USING (model)
    WHERE method = 'identity'
)

SELECT
    model,
    dropped,
    task,
    metric,
    family,
    n_shot,
    n_items,
    n_drop,
    score,
    greatest(score - 1.96 * standard_error, 0) AS low,
    least(score + 1.96 * standard_error, 1) AS high,
    score / nullif(max(score) FILTER (n_drop = 0) OVER (PARTITION BY model, dropped, task), 0)
        AS share_of_dense
FROM dropped_scores
ORDER BY model, dropped, task, n_drop;

-- Findings: what is left of each family at the largest drop that keeps non-generative scores.
WITH sizes AS (
    SELECT
        model,
        variant,
        coalesce(settings ->> 'sublayer', 'block') AS dropped,
        try_cast(settings ->> 'n_drop' AS INT) AS n_drop
    FROM compression_run
    WHERE method IN ('sublayer_drop', 'block_drop')
),

dense AS (
    SELECT
        model,
        task,
        score AS dense_score
    FROM task_scores
    WHERE variant = 'dense' AND headline AND score IS NOT NULL
),

kept AS (
    SELECT
        model,
        dropped,
        n_drop,
        avg(score / nullif(dense_score, 0)) FILTER (family = 'non_generative') AS choosing,
        avg(score / nullif(dense_score, 0)) FILTER (family = 'generative') AS writing
    FROM task_scores
    INNER JOIN sizes USING (model, variant)
    INNER JOIN dense USING (model, task)
    WHERE headline AND score IS NOT NULL
    GROUP BY ALL
)

SELECT
    model,
    format(
        '{} {} dropped: non-generative tasks keep {:.0f} % of dense''s score on average, the '
        'generative one {:.0f} %. The paper finds that generation falls first.',
        n_drop,
        if(dropped = 'block', 'blocks', if(dropped = 'attn', 'attention', 'MLP') || ' sublayers'),
        100 * choosing,
        100 * writing
    ) AS finding,
    writing < choosing AS agrees
FROM kept
WHERE n_drop IN (4, 8) AND choosing IS NOT NULL AND writing IS NOT NULL
ORDER BY model, dropped, n_drop;
