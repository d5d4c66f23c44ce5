-- Estimates of KL against the size of the logit shift, greedy, T = 1: estimated / measured by order and bound.
-- One row per (model, variant, prompt, history, step, weights, estimate). Weights are p or all tokens equally;
-- decade is log10 of the standard deviation of Δz under them, in steps of a quarter.
WITH sizes AS (
    SELECT
        model,
        variant,
        prompt,
        history,
        step,
        if(temperature IS NULL, 'uniform', 'p') AS weights,
        sqrt(if(temperature IS NULL, var_uniform, var_p)) AS size
    FROM decoding_shift
    WHERE
        sampling_temperature = 0
        AND history IN ('dense_cache', 'prompt_perturbed', 'teacher_forced', 'free_running')
        AND (temperature = 1 OR temperature IS NULL)
)

SELECT
    model,
    weights,
    if(quantity = 'kl_bound', 'bound', 'order ' || "order") AS estimate,
    round(4 * log10(size)) / 4 AS decade,
    estimated / measured AS ratio
FROM decoding_deviation
INNER JOIN sizes USING (model, variant, prompt, history, step)
WHERE
    sampling_temperature = 0 AND temperature = 1
    AND quantity IN ('kl_divergence', 'kl_bound') AND measured > 0 AND size > 0
