-- Figure 7. A whole variant and dense, each writing on its own (free running, greedy), T = 1.
-- One row per (model, scope, space, step): the prompt that is a setting, or all prompts; means and
-- range over the prompts at whose step neither model has stopped. KL and its estimate stand in the
-- rows of the probability space. Noise is what rounding alone leaves of similarity, and makes of KL.
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

-- Findings: the first step beside the later ones, and the estimate beside the measurement.
WITH traced AS (
    SELECT
        model,
        space,
        median(angular_deviation) FILTER (step = 0) AS first_step,
        median(angular_deviation) FILTER (step > 0) AS later,
        median(kl_divergence) FILTER (step = 0) AS first_kl,
        median(kl_divergence) FILTER (step > 0) AS later_kl
    FROM decoding_trace
    WHERE
        history = 'free_running' AND sampling_temperature = 0
        AND (temperature = 1 OR temperature IS NULL)
    GROUP BY ALL
),

forced AS (
    SELECT
        model,
        median(kl_divergence) AS kl
    FROM decoding_trace
    WHERE
        history = 'teacher_forced' AND sampling_temperature = 0
        AND temperature = 1 AND space = 'probability' AND step > 0
    GROUP BY ALL
),

said AS (
    SELECT
        model,
        1 AS place,
        format(
            'Median similarity in the {} space: {:.3f} at step 0, {:.3f} later. The paper finds '
            'the first step to be the most similar.',
            space,
            1 - first_step,
            1 - later
        ) AS finding,
        first_step < later AS agrees
    FROM traced
    WHERE later IS NOT NULL

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        format(
            'Median KL: {:.2g} nats at step 0, {:.2g} nats later; on the dense model''s own tokens '
            '(teacher-forced) it is {:.2g} nats at the later steps, so what rises is the '
            'divergence of the texts.',
            first_kl,
            later_kl,
            kl
        ) AS finding,
        first_kl < later_kl AS agrees
    FROM traced
    INNER JOIN forced USING (model)
    WHERE space = 'probability' AND later_kl IS NOT NULL

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        format(
            'Half the variance of Δz (Theorem 3) has a median relative error of {:.0f} % under '
            '{} histories.',
            100 * median(abs(estimated / measured - 1)),
            replace(history, '_', ' ')
        ) AS finding,
        if(
            history = 'free_running', median(abs(estimated / measured - 1)) <= 0.25, NULL
        ) AS agrees
    FROM decoding_deviation
    WHERE
        history IN ('free_running', 'teacher_forced') AND sampling_temperature = 0
        AND temperature = 1 AND quantity = 'kl_divergence' AND "order" = 2 AND measured > 0
    GROUP BY model, history
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place, finding;
