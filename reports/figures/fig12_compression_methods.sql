-- Figure 12. Kinds of compression side by side: free running, greedy, T = 1.
-- One row per (model, scope, variant, panel, step): the prompt that is a setting, or the mean over
-- the prompts at whose step neither model has stopped.
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

-- What rounding alone leaves of similarity, and makes of KL.
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
)

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
ORDER BY model, scope, variant, panel, step;

-- Findings: how far each kind goes on dense tokens and on its own, and quantization beside pruning.
WITH by_variant AS (
    SELECT
        model,
        variant,
        method,
        method IN ('rtn', 'awq') AS quantizes,
        median(kl_divergence) FILTER (history = 'teacher_forced') AS forced,
        median(kl_divergence) FILTER (history = 'free_running') AS own,
        median(angular_deviation) FILTER (history = 'free_running') AS turned
    FROM decoding_trace
    INNER JOIN compression_run USING (model, variant)
    WHERE sampling_temperature = 0 AND temperature = 1 AND space = 'probability'
    GROUP BY ALL
),

compared AS (
    SELECT
        model,
        max(forced) FILTER (quantizes) AS quantized,
        min(forced) FILTER (NOT quantizes) AS pruned
    FROM by_variant
    GROUP BY ALL
),

said AS (
    SELECT
        model,
        1 AS place,
        variant,
        format(
            '{}: median KL {:.2g} nats on the dense model''s tokens, {:.2g} nats on its own; '
            'median similarity of p {:.2f} on its own.',
            variant,
            forced,
            own,
            1 - turned
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM by_variant

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        '' AS variant,
        format(
            'On the dense model''s tokens quantized variants reach a median KL of at most {:.2g} '
            'nats, pruned ones at least {:.2g}: the paper finds quantization to deviate less. Once '
            'texts differ, on their own tokens, all kinds are equally far.',
            quantized,
            pruned
        ) AS finding,
        quantized < pruned AS agrees
    FROM compared
    WHERE quantized IS NOT NULL AND pruned IS NOT NULL
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place, variant;
