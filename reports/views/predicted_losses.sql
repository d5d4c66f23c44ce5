-- Deviations from dense on the prompts of config, measured without labels, beside what tasks lose.
-- One row per (model, variant, suite, family, predictor): size is the mean over the steps of each prompt and then
-- over prompts, on dense's greedy text with each model's own cache, T = 1; lost is the share of what dense scores
-- above chance, NULL if dense may guess.
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
        suite,
        name AS family, -- noqa: RF04
        1 - kept AS lost
    FROM score_difference
    WHERE scope = 'family'
)

SELECT
    model,
    variant,
    suite,
    method,
    predictor,
    size,
    family,
    lost
FROM sizes
INNER JOIN losses USING (model, variant)
INNER JOIN compression_run USING (model, variant)
WHERE method <> 'identity' AND size > 0
