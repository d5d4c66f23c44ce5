-- Extension. The checks of each model before it ran, and its noise floor.
-- One row per (model, check) and per (model, comparison, readout, space): the largest of all places
-- in the model.
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
    CASE readout
        WHEN 'lm_head' THEN comparison || ', after any sublayer, by lm_head alone'
        WHEN 'final_norm' THEN comparison || ', after any sublayer, by the final norm'
        ELSE comparison
    END AS what,
    space,
    max(max_angular_deviation) AS measured,
    NULL AS tolerance,
    max(max_kl_divergence) AS kl_divergence,
    max(n_disagreements) AS n_disagreements,
    max(n_positions) AS n_positions
FROM noise_floor
GROUP BY model, comparison, readout, space
ORDER BY model, part, what, space;

-- Findings: the noise floor of decoding with a cache.
SELECT
    model,
    format(
        'In {}, one pass over a text and decoding with a cache differ by a KL divergence of at '
        'most {:.2g} nats. Their likeliest tokens differ at {} of {} positions.',
        dtype,
        max_kl_divergence,
        n_disagreements,
        n_positions
    ) AS finding
FROM noise_floor
WHERE comparison LIKE 'one pass%' AND space = 'probability' AND readout IS NULL
ORDER BY model;
