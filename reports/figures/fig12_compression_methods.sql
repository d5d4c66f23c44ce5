-- Figure 12. Kinds of compression compared: free running, greedy, T = 1.
-- One row per (model, scope, variant, panel, step): the scope is the prompt in the settings, or the
-- mean over the prompts at whose step neither model has stopped.
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

-- Findings: the deviation of each variant on the dense model's tokens and on its own, and
-- quantization compared with pruning.
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
        min(forced) FILTER (NOT quantizes) AS pruned,
        max(own) FILTER (quantizes) AS quantized_own,
        min(own) FILTER (NOT quantizes) AS pruned_own
    FROM by_variant
    GROUP BY ALL
),

findings AS (
    SELECT
        model,
        1 AS place,
        variant,
        format(
            '{}: the median KL is {:.2g} nats on the dense model''s tokens (teacher-forced) and '
            '{:.2g} nats if each model reads its own (free running). The median similarity of p is '
            '{:.2f} under free running.',
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
            'On the dense model''s tokens the median KL of quantized variants is at most {:.2g} '
            'nats and that of pruned ones at least {:.2g} nats. The paper finds that quantization '
            'deviates less. Under free running the two numbers are {:.2g} and {:.2g} nats.',
            quantized,
            pruned,
            quantized_own,
            pruned_own
        ) AS finding,
        quantized < pruned AS agrees
    FROM compared
    WHERE quantized IS NOT NULL AND pruned IS NOT NULL
)

SELECT
    model,
    finding,
    agrees
FROM findings
ORDER BY model, place, variant;
