-- Extension. Numbers measured without labels on the prompts of config, as predictors of task losses.
-- One row per (model, family, predictor, variant): the predictor, the share of what dense scores above chance
-- that the family's tasks lose, and the rank correlation of the two over all variants with its 95 %
-- bootstrap interval. Predictors are means over the steps of each prompt and then over prompts, on
-- the dense model's greedy text, with each model's own cache, T = 1. The loss is NULL if dense may guess.
WITH asked AS (
    SELECT
        model,
        suite,
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
    correlation AS spearman,
    low,
    high,
    p_value,
    n_variants AS variants
FROM predicted_losses
INNER JOIN loss_correlation USING (model, suite, predictor, family)
INNER JOIN asked USING (model, suite, family)
ORDER BY model, family, predictor, variant;

-- Findings: what choosing by Theorem 3's estimate would have cost, and how it orders losses.
SELECT
    model,
    format(
        '{}: choosing between two variants by Theorem 3''s estimate costs {:.1f} % of the score '
        'above chance on average, a coin {:.1f} % (all pairs of {} variants{}). The rank '
        'correlation of estimate and loss is {:.2f} ({}p = {:.2g}).',
        at_start(family_name(family)),
        100 * regret,
        100 * coin_regret,
        n_variants,
        coalesce(
            format(
                '; ratio {:.2f}, 95 % interval {:.2f} to {:.2f}',
                regret / nullif(coin_regret, 0), ratio_low, ratio_high
            ), ''
        ),
        correlation,
        coalesce(format('{:.2f} to {:.2f}, ', low, high), ''),
        p_value
    ) AS finding
FROM loss_correlation
WHERE predictor = 'theorem_3' AND correlation IS NOT NULL
ORDER BY model, suite, family;

-- Findings: the other predictors.
SELECT
    model,
    format(
        '{}: the rank correlation of the loss with other predictors is {}.',
        at_start(family_name(family)),
        string_agg(
            format(
                '{:.2f}{} for {}',
                correlation,
                coalesce(format(' ({:.2f} to {:.2f})', low, high), ''),
                replace(replace(predictor, '_', ' '), 'kl', 'KL')
            ), ', ' ORDER BY predictor
        )
    ) AS finding
FROM loss_correlation
WHERE predictor <> 'theorem_3' AND correlation IS NOT NULL
GROUP BY model, suite, family
ORDER BY model, suite, family;
