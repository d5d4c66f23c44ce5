-- Dense and variant at T = 1, each reading its own greedy text: similarity, KL and |Δ| / |dense| at each step.
-- One row per (model, variant, prompt, step, space); KL stands in the rows of the probability space.
SELECT
    model,
    variant,
    prompt,
    history,
    step,
    sampling_temperature,
    temperature,
    space,
    1 - angular_deviation AS similarity,
    kl_divergence,
    sqrt(relative_orthogonal_magnitude ^ 2 + relative_parallel_magnitude ^ 2) AS magnitude
FROM decoding_trace
WHERE
    history = 'free_running' AND sampling_temperature = 0
    AND (temperature = 1 OR temperature IS NULL)
