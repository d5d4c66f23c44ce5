-- The headline score of each task with its 95 % interval, chance, the share of the dense score, and the share
-- of what dense scores above chance (NULL if dense may guess).
-- One row per (model, variant, suite, task), dense's from any comparison with it. Metrics of which less is
-- better (perplexities) are left out.
WITH scored AS (
    SELECT
        model,
        variant,
        suite,
        name,
        metric,
        family,
        n_shot,
        n_items,
        score,
        score_low,
        score_high,
        chance,
        kept,
        score / nullif(dense_score, 0) AS share_of_dense
    FROM score_difference
    WHERE scope = 'task' AND variant <> 'dense'

    UNION ALL BY NAME

    SELECT
        model,
        'dense' AS variant,
        suite,
        name,
        any_value(metric) AS metric,
        any_value(family) AS family, -- noqa: RF04
        any_value(n_shot) AS n_shot,
        any_value(n_items) AS n_items,
        any_value(dense_score) AS score,
        any_value(dense_score_low) AS score_low,
        any_value(dense_score_high) AS score_high,
        any_value(chance) AS chance,
        if(any_value(dense_margin_low) > 0, 1, NULL) AS kept,
        if(any_value(dense_score) > 0, 1, NULL) AS share_of_dense
    FROM score_difference
    WHERE scope = 'task'
    GROUP BY model, suite, name
)

SELECT
    model,
    variant,
    suite,
    name AS task, -- noqa: RF04
    metric,
    family,
    n_shot,
    n_items,
    score,
    score_low AS low,
    score_high AS high,
    chance,
    kept,
    share_of_dense
FROM scored
