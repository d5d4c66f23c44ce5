-- Extension. Free running, greedy, T = 1: what each history adds to Δz (Eq. 70), and KL once it is added.
-- One row per (model, variant, term): means over the steps of each prompt and then over prompts, with
-- 95 % intervals over prompts.
SELECT
    model,
    variant,
    term,
    history,
    share AS mean_share, -- noqa: RF04
    share_low,
    share_high,
    norm,
    kl,
    kl_low,
    kl_high,
    n_prompts AS prompts
FROM history_effect
WHERE sampling_temperature = 0
ORDER BY
    model ASC,
    variant ASC,
    list_position(
        ['dense_cache', 'prompt_perturbed', 'teacher_forced', 'free_running'], history
    ) ASC;

-- Findings: the shares of the terms.
SELECT
    model,
    format(
        '{}: {:.0f} % of Δz under free running come from tokens on which the texts differ '
        '(95 % interval over prompts {:.0f} to {:.0f} %), {:.0f} % from the parameters at the '
        'current token, {:.0f} % from the perturbed prompt history and {:.0f} % from the '
        'perturbed history of the same generated tokens.',
        variant,
        100 * any_value(share) FILTER (term = 'diverged_tokens'),
        100 * any_value(share_low) FILTER (term = 'diverged_tokens'),
        100 * any_value(share_high) FILTER (term = 'diverged_tokens'),
        100 * any_value(share) FILTER (term = 'parameters'),
        100 * any_value(share) FILTER (term = 'prompt_history'),
        100 * any_value(share) FILTER (term = 'generated_history')
    ) AS finding
FROM history_effect
WHERE sampling_temperature = 0
GROUP BY model, variant
HAVING bool_or(term = 'diverged_tokens' AND share_low IS NOT NULL)
ORDER BY model, variant;

-- Findings: the effect of sampling.
SELECT
    model,
    format(
        'If texts are sampled with shared noise at T = {:.2g}, tokens on which they differ are '
        '{:.0f} % of Δz on average over variants (greedy: {:.0f} %).',
        sampled.sampling_temperature,
        100 * avg(sampled.share),
        100 * avg(greedy.share)
    ) AS finding
FROM history_effect AS sampled
INNER JOIN history_effect AS greedy USING (model, variant, term)
WHERE
    term = 'diverged_tokens' AND sampled.sampling_temperature > 0
    AND greedy.sampling_temperature = 0
GROUP BY model, sampled.sampling_temperature
ORDER BY model, sampled.sampling_temperature;
