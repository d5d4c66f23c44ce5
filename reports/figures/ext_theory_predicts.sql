-- Extension. Numbers measured without labels on the prompts of config, as predictors of task losses.
-- One row per (model, family, predictor, variant): the predictor, the share of the dense score that
-- the family's tasks lose, and the rank correlation of the two over all variants with its 95 %
-- bootstrap interval. Predictors are means over the steps of each prompt and then over prompts, on
-- the dense model's greedy text, with each model's own cache, T = 1. The loss is NULL if the dense
-- score is zero.
CREATE TEMP VIEW correlated AS
SELECT
    model,
    predictor,
    family,
    count(lost) AS variants,
    list(size ORDER BY variant) FILTER (lost IS NOT NULL) AS sizes,
    list(lost ORDER BY variant) FILTER (lost IS NOT NULL) AS losses,
    rank_correlation(sizes, losses) AS spearman,
    bootstrap_rank_correlation(sizes, losses, 0.025) AS low,
    bootstrap_rank_correlation(sizes, losses, 0.975) AS high
FROM predicted_losses
GROUP BY ALL;

WITH asked AS (
    SELECT
        model,
        family,
        string_agg(format('{} ({} items)', task, n_items), ', ' ORDER BY task) AS task_names
    FROM headline_scores
    WHERE variant = 'dense'
    GROUP BY ALL
)

SELECT
    model,
    family,
    task_names,
    predictor,
    variant,
    method,
    size,
    log10(size) AS decade,
    lost,
    spearman,
    low,
    high,
    variants
FROM predicted_losses
INNER JOIN correlated USING (model, predictor, family)
INNER JOIN asked USING (model, family)
ORDER BY model, family, predictor, variant;

-- Findings: whether Theorem 3 orders the losses of each family, and the other predictors.
WITH others AS (
    SELECT
        model,
        family,
        string_agg(
            format(
                '{} {:.2f} ({:.2f} to {:.2f})',
                replace(replace(predictor, '_', ' '), 'kl', 'KL'),
                spearman,
                low,
                high
            ),
            ', '
            ORDER BY predictor
        ) AS beside
    FROM correlated
    WHERE predictor <> 'theorem_3' AND spearman IS NOT NULL
    GROUP BY ALL
)

SELECT
    model,
    format(
        '{}: over {} variants, the rank correlation between Theorem 3''s estimate and the lost '
        'share of the dense score is {:.2f} (95 % bootstrap interval over variants {:.2f} to '
        '{:.2f}).{}',
        if(family = 'generative', 'Generation tasks', 'Multiple-choice tasks'),
        variants,
        spearman,
        low,
        high,
        coalesce(' Other predictors: ' || beside || '.', '')
    ) AS finding
FROM correlated
LEFT JOIN others USING (model, family)
WHERE predictor = 'theorem_3' AND spearman IS NOT NULL
ORDER BY model, family;
