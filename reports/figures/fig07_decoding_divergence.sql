-- Figure 7. A whole variant and dense, each writing its own greedy text (free running), T = 1.
-- One row per (model, scope, space, step): the scope is the prompt in the settings, or all prompts;
-- means and range are over the prompts at whose step neither model has stopped. KL and its estimate
-- are in the rows of the probability space. Noise is the similarity that rounding alone leaves, and
-- noise_kl the KL that it makes.
WITH traced AS (
    SELECT
        model,
        prompt,
        step,
        space,
        1 - angular_deviation AS similarity,
        kl_divergence AS measured
    FROM decoding_trace
    WHERE
        history = 'free_running' AND sampling_temperature = 0
        AND (temperature = 1 OR temperature IS NULL)
),

estimates AS (
    SELECT
        model,
        prompt,
        step,
        space,
        estimated
    FROM decoding_deviation
    WHERE
        history = 'free_running' AND sampling_temperature = 0
        AND temperature = 1 AND quantity = 'kl_divergence' AND "order" = 2
),

joined AS (
    SELECT *
    FROM traced
    LEFT JOIN estimates USING (model, prompt, step, space)
),

scopes AS (
    SELECT
        'mean over prompts' AS scope,
        joined.*
    FROM joined

    UNION ALL BY NAME

    SELECT
        prompt AS scope,
        joined.*
    FROM joined
    WHERE prompt = $prompt
)

SELECT
    scopes.model,
    scope,
    scopes.space,
    step,
    avg(similarity) AS mean,
    min(similarity) AS low,
    max(similarity) AS high,
    nullif(avg(measured), 0) AS measured, -- a logarithmic axis has no zero
    nullif(avg(estimated), 0) AS estimated,
    count(*) AS prompts,
    1 - max(floor.angular_deviation) AS noise,
    max(floor.kl_divergence) AS noise_kl
FROM scopes
LEFT JOIN noise_level AS floor
    ON scopes.model = floor.model AND scopes.space = floor.space AND floor.readout IS NULL
GROUP BY ALL
ORDER BY scopes.model, scope, scopes.space, step;

-- Findings: KL at the first step and later, and what its rise comes from.
WITH levels AS (
    SELECT
        model,
        median(kl_divergence) FILTER (history = 'free_running' AND step = 0) AS first_kl,
        median(kl_divergence) FILTER (history = 'free_running' AND step > 0) AS later_kl,
        median(kl_divergence) FILTER (history = 'teacher_forced' AND step > 0) AS kl
    FROM decoding_trace
    WHERE sampling_temperature = 0 AND temperature = 1 AND space = 'probability'
    GROUP BY model
)

SELECT
    model,
    format(
        'The median KL is {:.2g} nats at step 0 and {:.2g} nats at later steps. If both models '
        'read the dense model''s tokens (teacher-forced), it is {:.2g} nats at later steps: '
        '{}.',
        first_kl,
        later_kl,
        kl,
        CASE
            WHEN later_kl <= first_kl THEN 'KL does not rise after the first step'
            WHEN kl <= first_kl THEN 'the rise comes from tokens on which the texts differ'
            WHEN kl < later_kl
                THEN 'part of the rise comes from tokens on which the texts differ'
            ELSE 'tokens on which the texts differ do not explain the rise'
        END
    ) AS finding
FROM levels
WHERE first_kl IS NOT NULL AND later_kl IS NOT NULL AND kl IS NOT NULL
ORDER BY model;
