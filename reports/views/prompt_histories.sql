-- Per prompt: what each history adds to Δz (Eq. 70), and KL once it is added, means over the steps of free
-- running. Once one model has stopped, there is no Δz to split.
-- One row per (model, variant, sampling_temperature, term, prompt); T = 1.
WITH stages (term, history) AS (
    VALUES
    ('parameters', 'dense_cache'),
    ('prompt_history', 'prompt_perturbed'),
    ('generated_history', 'teacher_forced'),
    ('diverged_tokens', 'free_running')
)

SELECT
    model,
    variant,
    sampling_temperature,
    term,
    history,
    prompt,
    avg(share) AS share, -- noqa: RF04
    avg(norm) AS norm,
    avg(kl_divergence) AS kl
FROM history_term
INNER JOIN stages USING (term)
INNER JOIN
    decoding_trace
    USING (model, variant, sampling_temperature, prompt, step, history)
WHERE share IS NOT NULL AND temperature = 1 AND space = 'probability'
GROUP BY ALL
ORDER BY ALL
