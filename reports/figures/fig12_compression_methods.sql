-- Figure 12. Kinds of compression compared: free running, greedy, T = 1.
-- One row per (model, scope, variant, panel, step): the scope is the prompt in the settings, or the
-- mean over the prompts at whose step neither model has stopped. `paper` is the curve that the paper shows for
-- its own model, one prompt and the same kind of compression.
WITH panels AS (
    SELECT
        model,
        variant,
        prompt,
        step,
        space AS panel,
        1 - angular_deviation AS measured
    FROM decoding_trace
    WHERE
        history = 'free_running' AND sampling_temperature = 0
        AND (temperature = 1 OR temperature IS NULL)

    UNION ALL BY NAME

    SELECT
        model,
        variant,
        prompt,
        step,
        'magnitude' AS panel,
        sqrt(relative_orthogonal_magnitude ^ 2 + relative_parallel_magnitude ^ 2) AS measured
    FROM decoding_trace
    WHERE history = 'free_running' AND sampling_temperature = 0 AND space = 'logit'

    UNION ALL BY NAME

    SELECT
        model,
        variant,
        prompt,
        step,
        'variance' AS panel,
        var_p AS measured
    FROM decoding_shift
    WHERE history = 'free_running' AND sampling_temperature = 0 AND temperature = 1

    UNION ALL BY NAME

    SELECT
        model,
        variant,
        prompt,
        step,
        'kl' AS panel,
        kl_divergence AS measured
    FROM decoding_trace
    WHERE
        history = 'free_running' AND sampling_temperature = 0
        AND temperature = 1 AND space = 'probability'
),

-- The similarity that rounding alone leaves, and the KL that it makes.
limits AS (
    SELECT
        model,
        space AS panel,
        1 - angular_deviation AS noise
    FROM noise_level
    WHERE readout IS NULL

    UNION ALL BY NAME

    SELECT
        model,
        'kl' AS panel,
        kl_divergence AS noise
    FROM noise_level
    WHERE readout IS NULL AND space = 'probability'
),

scopes AS (
    SELECT
        'mean over prompts' AS scope,
        panels.*
    FROM panels

    UNION ALL BY NAME

    SELECT
        prompt AS scope,
        panels.*
    FROM panels
    WHERE prompt = $prompt
),

levels AS (
    SELECT
        model,
        scope,
        variant,
        method,
        panel,
        step,
        avg(measured) AS measured,
        count(*) AS prompts,
        max(limits.noise) AS noise
    FROM scopes
    INNER JOIN compression_run USING (model, variant)
    LEFT JOIN limits USING (model, panel)
    GROUP BY ALL
),

published AS (
    SELECT
        $prompt AS scope,
        CASE line
            WHEN 'attn_drop' THEN 'sublayer_drop'
            WHEN 'awq_4bit' THEN 'awq'
            ELSE 'wanda'
        END AS method, -- noqa: RF04
        CASE panel
            WHEN 'cosine_h' THEN 'embedding'
            WHEN 'cosine_z' THEN 'logit'
            WHEN 'cosine_p' THEN 'probability'
            ELSE panel
        END AS panel,
        cast(round(x) AS INT) AS step,
        avg(y) AS paper
    FROM paper_curves
    WHERE figure = 'fig12'
    GROUP BY ALL
)

SELECT
    model,
    scope,
    variant,
    method,
    panel,
    step,
    measured,
    prompts,
    noise,
    paper
FROM levels
LEFT JOIN published USING (scope, method, panel, step)
ORDER BY model, scope, variant, panel, step;

-- Findings: the deviation of each variant on the dense model's tokens and on its own.
WITH by_variant AS (
    SELECT
        model,
        variant,
        median(kl_divergence) FILTER (history = 'teacher_forced') AS forced,
        median(kl_divergence) FILTER (history = 'free_running') AS own
    FROM decoding_trace
    WHERE sampling_temperature = 0 AND temperature = 1 AND space = 'probability'
    GROUP BY ALL
)

SELECT
    model,
    format(
        'The median KL on the dense model''s tokens (teacher-forced), and if each model reads its '
        'own (free running), is {}.',
        string_agg(
            format('{:.2g} and {:.2g} nats for {}', forced, own, variant), ', ' ORDER BY forced
        )
    ) AS finding
FROM by_variant
GROUP BY model
ORDER BY model;
