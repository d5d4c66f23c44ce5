-- Extension. Numbers measured without labels on the prompts of config, as predictors of task losses.
-- One row per (model, family, predictor, variant): the predictor, the share of the dense score that
-- the family's tasks lose, and the rank correlation of the two over all variants with its 95 %
-- bootstrap interval. Predictors are means over the steps of each prompt and then over prompts, on
-- the dense model's greedy text, with each model's own cache, T = 1. The loss is NULL if the dense
-- score is zero.
CREATE TEMP VIEW predicted AS
WITH of_prompts AS (
    SELECT
        model,
        variant,
        prompt,
        avg(estimated) FILTER (quantity = 'kl_divergence' AND "order" = 2) AS theorem_3,
        avg(measured) FILTER (quantity = 'kl_divergence' AND "order" = 2) AS measured_kl,
        avg(measured) FILTER (quantity = 'angular_deviation' AND space = 'probability')
            AS deviation_of_p,
        avg(measured) FILTER (quantity = 'angular_deviation' AND space = 'logit') AS deviation_of_z,
        avg(measured) FILTER (quantity = 'angular_deviation' AND space = 'embedding')
            AS deviation_of_h
    FROM decoding_deviation
    WHERE
        history = 'teacher_forced' AND sampling_temperature = 0
        AND (temperature = 1 OR temperature IS NULL)
    GROUP BY ALL
),

of_variants AS (
    SELECT
        model,
        variant,
        avg(theorem_3) AS theorem_3,
        avg(measured_kl) AS measured_kl,
        avg(deviation_of_p) AS deviation_of_p,
        avg(deviation_of_z) AS deviation_of_z,
        avg(deviation_of_h) AS deviation_of_h
    FROM of_prompts
    GROUP BY ALL
),

sizes AS (
    UNPIVOT of_variants
    ON theorem_3, measured_kl, deviation_of_p, deviation_of_z, deviation_of_h
    INTO NAME predictor VALUE size
),

losses AS (
    SELECT
        model,
        variant,
        family,
        1 - avg(share_of_dense) AS lost
    FROM headline_scores
    GROUP BY ALL
)

SELECT
    model,
    variant,
    method,
    predictor,
    size,
    family,
    lost
FROM sizes
INNER JOIN losses USING (model, variant)
INNER JOIN compression_run USING (model, variant)
WHERE method <> 'identity' AND size > 0;

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
FROM predicted
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
FROM predicted
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
        '{:.2f}). {}.{}',
        if(family = 'generative', 'Generation tasks', 'Multiple-choice tasks'),
        variants,
        spearman,
        low,
        high,
        CASE
            WHEN variants < 6 THEN 'There is no verdict with fewer than six variants'
            WHEN low > 0 THEN 'The estimate orders the losses'
            WHEN high < 0 THEN 'The estimate orders the losses the wrong way round'
            ELSE 'There is no verdict, because the interval contains zero'
        END,
        coalesce(' Other predictors: ' || beside || '.', '')
    ) AS finding,
    if(family = 'generative' AND variants >= 6 AND (low > 0 OR high < 0), low > 0, NULL) AS agrees
FROM correlated
LEFT JOIN others USING (model, family)
WHERE predictor = 'theorem_3' AND spearman IS NOT NULL
ORDER BY model, family;
