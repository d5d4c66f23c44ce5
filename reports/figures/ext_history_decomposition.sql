-- Extension. Free running, greedy, T = 1: what each history adds to Δz (Eq. 70), and KL once it is added.
-- One row per (model, variant, term): means over the steps of each prompt and then over prompts, with
-- 95 % bootstrap intervals over prompts.
WITH stages (term, history, place) AS (
    VALUES
    ('parameters', 'dense_cache', 1),
    ('prompt_history', 'prompt_perturbed', 2),
    ('generated_history', 'teacher_forced', 3),
    ('diverged_tokens', 'free_running', 4)
),

-- Only steps of free running: once one model has stopped, there is no Δz to split.
divergence AS (
    SELECT
        model,
        variant,
        prompt,
        step,
        history,
        kl_divergence
    FROM decoding_trace
    WHERE sampling_temperature = 0 AND temperature = 1 AND space = 'probability'
),

by_prompt AS (
    SELECT
        model,
        variant,
        prompt,
        term,
        place,
        avg(share) AS mean_share,
        avg(norm) AS norm,
        avg(kl_divergence) AS kl
    FROM history_term
    INNER JOIN stages USING (term)
    INNER JOIN divergence USING (model, variant, prompt, step, history)
    WHERE sampling_temperature = 0 AND share IS NOT NULL
    GROUP BY ALL
)

SELECT
    model,
    variant,
    method,
    term,
    place,
    avg(mean_share) AS mean_share,
    bootstrap_mean(list(mean_share ORDER BY prompt), 0.025) AS share_low,
    bootstrap_mean(list(mean_share ORDER BY prompt), 0.975) AS share_high,
    avg(norm) AS norm,
    avg(kl) AS kl,
    bootstrap_mean(list(kl ORDER BY prompt), 0.025) AS kl_low,
    bootstrap_mean(list(kl ORDER BY prompt), 0.975) AS kl_high,
    count(*) AS prompts
FROM by_prompt
INNER JOIN compression_run USING (model, variant)
GROUP BY ALL
ORDER BY model, variant, place;

-- Findings: the shares of the terms, and the effect of sampling.
WITH shares AS (
    SELECT
        model,
        variant,
        sampling_temperature,
        prompt,
        term,
        avg(share) AS mean_share
    FROM history_term
    WHERE share IS NOT NULL
    GROUP BY ALL
),

by_variant AS (
    SELECT
        model,
        variant,
        sampling_temperature,
        avg(mean_share) FILTER (term = 'parameters') AS current_parameters,
        avg(mean_share) FILTER (term = 'prompt_history') AS prompt_history,
        avg(mean_share) FILTER (term = 'generated_history') AS generated_history,
        avg(mean_share) FILTER (term = 'diverged_tokens') AS diverged_tokens,
        bootstrap_mean(
            list(mean_share ORDER BY prompt) FILTER (term = 'diverged_tokens'), 0.025
        ) AS low,
        bootstrap_mean(
            list(mean_share ORDER BY prompt) FILTER (term = 'diverged_tokens'), 0.975
        ) AS high
    FROM shares
    GROUP BY ALL
),

greedy AS (
    SELECT
        model,
        variant,
        diverged_tokens
    FROM by_variant
    WHERE sampling_temperature = 0
),

findings AS (
    SELECT
        model,
        1 AS place,
        variant,
        format(
            '{}: {:.0f} % of Δz under free running come from tokens on which the texts differ '
            '(95 % interval over prompts {:.0f} to {:.0f} %), {:.0f} % from the parameters at the '
            'current token, {:.0f} % from the perturbed prompt history and {:.0f} % from the '
            'perturbed history of the same generated tokens.',
            variant,
            100 * diverged_tokens,
            100 * low,
            100 * high,
            100 * current_parameters,
            100 * prompt_history,
            100 * generated_history
        ) AS finding
    FROM by_variant
    WHERE sampling_temperature = 0

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        '' AS variant,
        format(
            'If texts are sampled with shared noise at T = {:.2g}, tokens on which they differ are '
            '{:.0f} % of Δz on average over variants (greedy: {:.0f} %).',
            sampling_temperature,
            100 * avg(sampled.diverged_tokens),
            100 * avg(greedy.diverged_tokens)
        ) AS finding
    FROM by_variant AS sampled
    INNER JOIN greedy USING (model, variant)
    WHERE sampling_temperature > 0
    GROUP BY model, sampling_temperature
)

SELECT
    model,
    finding
FROM findings
ORDER BY model, place, variant;
