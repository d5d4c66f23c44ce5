-- Figure 12. Kinds of compression compared: free running, greedy, T = 1.
-- One row per (model, scope, variant, panel, step): the scope is the prompt in the settings, or the
-- mean over the prompts at whose step neither model has stopped. `paper` is the curve that the paper shows for
-- its own model, one prompt and the same method; `noise` is what rounding alone leaves or makes.
WITH steps AS (
    SELECT
        free_running.model,
        variant,
        method,
        prompt,
        step,
        max(similarity) FILTER (space = 'embedding') AS embedding,
        max(similarity) FILTER (space = 'logit') AS logit,
        max(similarity) FILTER (space = 'probability') AS probability,
        max(magnitude) FILTER (space = 'logit') AS magnitude,
        max(var_p) AS variance,
        max(kl_divergence) AS kl
    FROM free_running
    INNER JOIN compression_run USING (model, variant)
    LEFT JOIN decoding_shift
        USING (model, variant, prompt, history, step, sampling_temperature, temperature)
    GROUP BY ALL
),

scoped AS (
    SELECT
        *,
        unnest(scopes_of(prompt, $prompt)) AS scope
    FROM steps
),

panels AS (
    UNPIVOT scoped
    ON embedding, logit, probability, magnitude, variance, kl
    INTO NAME panel VALUE measured
)

SELECT
    panels.model,
    scope,
    variant,
    method,
    panels.panel,
    step,
    avg(measured) AS measured,
    count(DISTINCT prompt) AS prompts,
    max(if(panels.panel = 'kl', limits.kl_divergence, 1 - limits.angular_deviation)) AS noise,
    avg(y) AS paper
FROM panels
LEFT JOIN paper_curves AS paper -- several points may belong to one step of the drawn prompt
    ON
        figure = 'fig12' AND scope = $prompt AND method = line
        AND panels.panel = paper.panel AND step = round(x)
LEFT JOIN noise_level AS limits
    ON
        panels.model = limits.model AND limits.readout IS NULL
        AND limits.space = if(panels.panel = 'kl', 'probability', panels.panel)
GROUP BY ALL
ORDER BY panels.model, scope, variant, panels.panel, step;

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
