-- The probability of all options of a multiple-choice prompt together, T = 1, and the option dense prefers.
-- One row per (model, variant, prompt).
SELECT
    model,
    variant,
    prompt,
    sum(p_dense) AS p_dense,
    sum(p_variant) AS p_variant,
    arg_max(option, p_dense) AS chosen_dense
FROM option_trace
WHERE temperature = 1
GROUP BY ALL
