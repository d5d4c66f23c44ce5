-- Figure 1. The headline score of each task against the number of dropped sublayers or blocks.
-- One row per (model, dropped, task, n_drop), dense as n_drop 0: the score with its 95 % interval, and
-- its share of the dense score. Rows with `paper` are what the paper shows for its own model: that share of
-- each of its tasks.
WITH scored AS (
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
        low,
        high,
        share_of_dense,
        FALSE AS is_published
    FROM headline_scores
    INNER JOIN drop_sizes USING (model, variant)
),

published AS (
    SELECT DISTINCT
        model,
        dropped,
        panel AS task, -- noqa: RF04
        if(panel IN ('gsm8k', 'humaneval'), 'generative', 'non_generative') AS family, -- noqa: RF04
        cast(x AS INT) AS n_drop,
        TRUE AS is_published,
        y / max(y) FILTER (x = 0) OVER (PARTITION BY panel, line) AS paper
    FROM paper_curves
    INNER JOIN scored ON line = dropped
    WHERE figure = 'fig01'
)

SELECT
    model,
    dropped,
    part_name(dropped) || 's' AS parts,
    task,
    metric,
    family,
    n_shot,
    n_items,
    n_drop,
    score,
    low,
    high,
    share_of_dense,
    paper
FROM scored
FULL JOIN published USING (model, dropped, task, family, n_drop, is_published)
ORDER BY model, dropped, task, paper, n_drop;
