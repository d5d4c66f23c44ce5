-- Extension. What was checked of each model before it ran, and its noise floor.
-- One row per (model, check) and per (model, comparison, space).
SELECT
    model,
    'check' AS part,
    "check" AS what,
    NULL AS space,
    measured,
    tolerance,
    NULL AS kl_divergence,
    NULL AS n_disagreements,
    NULL AS n_positions
FROM model_check
UNION ALL
SELECT
    model,
    'noise' AS part,
    comparison AS what,
    space,
    max_angular_deviation AS measured,
    NULL AS tolerance,
    max_kl_divergence AS kl_divergence,
    n_disagreements,
    n_positions
FROM noise_floor
ORDER BY model, part, what, space;

-- Findings: the noise floor in a sentence.
SELECT
    model,
    format(
        'In {}, one pass over a text and decoding it with a cache differ by at most {:.2g} nats of '
        'KL divergence, and in the likeliest token at {} of {} positions.',
        dtype,
        max_kl_divergence,
        n_disagreements,
        n_positions
    ) AS finding,
    NULL::BOOLEAN AS agrees
FROM noise_floor
WHERE comparison LIKE 'one pass%' AND space = 'probability'
ORDER BY model;
