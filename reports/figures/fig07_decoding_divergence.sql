-- Figure 7. A whole variant and dense, each writing its own greedy text (free running), T = 1.
-- One row per (model, scope, space, step): the scope is the prompt in the settings, or all prompts;
-- means and range are over the prompts at whose step neither model has stopped. KL and its estimate
-- are in the rows of the probability space. Noise is the similarity that rounding alone leaves, and
-- noise_kl the KL that it makes.
WITH estimates AS (
    SELECT
        model,
        variant,
        prompt,
        step,
        space,
        estimated
    FROM decoding_deviation
    WHERE
        history = 'free_running' AND sampling_temperature = 0
        AND temperature = 1 AND quantity = 'kl_divergence' AND "order" = 2
),

scoped AS (
    SELECT
        unnest(scopes_of(prompt, $prompt)) AS scope,
        free_running.*,
        estimated
    FROM free_running
    LEFT JOIN estimates USING (model, variant, prompt, step, space)
)

SELECT
    scoped.model,
    scope,
    scoped.space,
    step,
    avg(similarity) AS mean,
    min(similarity) AS low,
    max(similarity) AS high,
    nullif(avg(scoped.kl_divergence), 0) AS measured, -- a logarithmic axis has no zero
    nullif(avg(estimated), 0) AS estimated,
    count(*) AS prompts,
    1 - max(limits.angular_deviation) AS noise,
    max(limits.kl_divergence) AS noise_kl
FROM scoped
LEFT JOIN noise_level AS limits
    ON scoped.model = limits.model AND scoped.space = limits.space AND limits.readout IS NULL
GROUP BY ALL
ORDER BY scoped.model, scope, scoped.space, step;

-- Findings: KL at the first step and later, and what its rise comes from.
WITH levels AS (
    SELECT
        model,
        median(kl_divergence) FILTER (history = 'free_running' AND step = 0) AS first_kl,
        median(kl_divergence) FILTER (history = 'free_running' AND step > 0) AS later_kl,
        median(kl_divergence) FILTER (history = 'teacher_forced' AND step > 0) AS forced_kl
    FROM decoding_trace
    WHERE sampling_temperature = 0 AND temperature = 1 AND space = 'probability'
    GROUP BY model
)

SELECT
    model,
    format(
        'The median KL is {:.2g} nats at step 0 and {:.2g} nats at later steps. If both models '
        'read the dense model''s tokens (teacher-forced), it is {:.2g} nats at later steps: {}.',
        first_kl,
        later_kl,
        forced_kl,
        CASE
            WHEN later_kl <= first_kl THEN 'KL does not rise after the first step'
            WHEN forced_kl <= first_kl THEN 'the rise comes from tokens on which the texts differ'
            WHEN forced_kl < later_kl
                THEN 'part of the rise comes from tokens on which the texts differ'
            ELSE 'tokens on which the texts differ do not explain the rise'
        END
    ) AS finding
FROM levels
WHERE first_kl IS NOT NULL AND later_kl IS NOT NULL AND forced_kl IS NOT NULL
ORDER BY model;
