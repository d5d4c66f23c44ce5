-- Extension. The share of greedy texts that are still the dense model's at each step.
-- One row per (model, variant, step): a step function that falls from 1 to the share of intact texts.
CREATE TEMP VIEW written AS
SELECT
    model,
    variant,
    method,
    prompt,
    first_divergence,
    coalesce(first_divergence, len(dense_token_ids)) AS n_equal
FROM generated_text
INNER JOIN compression_run USING (model, variant)
WHERE sampling_temperature = 0;

WITH steps AS (
    SELECT
        model,
        unnest(range(0, 1 + max(first_divergence))) AS step
    FROM written
    GROUP BY model
)

SELECT
    model,
    method,
    variant,
    step,
    avg((first_divergence IS NULL OR first_divergence >= step)::INT) AS staying,
    count(*) AS prompts
FROM written
INNER JOIN steps USING (model)
GROUP BY ALL
ORDER BY model, method, variant, step;

-- Findings: the median step of divergence over kinds of compression, and the variant that diverges last.
SELECT
    model,
    format(
        'The median step at which texts diverge is {:.0f} over quantized variants and {:.0f} '
        'over pruned ones. Texts that never diverge count with their length.',
        median(n_equal) FILTER (method IN ('rtn', 'awq')),
        median(n_equal) FILTER (method NOT IN ('rtn', 'awq'))
    ) AS finding
FROM written
GROUP BY model
HAVING count(*) FILTER (method IN ('rtn', 'awq')) BETWEEN 1 AND count(*) - 1
ORDER BY model;

WITH by_variant AS (
    SELECT
        model,
        variant,
        median(n_equal) AS n_equal,
        count(first_divergence) AS diverged,
        count(*) AS prompts
    FROM written
    GROUP BY ALL
)

SELECT
    model,
    format(
        '{} of {} greedy texts differ from the dense model''s. Those of {} stay equal longest, '
        'half of them up to token {:.0f}.',
        sum(diverged),
        sum(prompts),
        arg_max(variant, n_equal),
        max(n_equal)
    ) AS finding
FROM by_variant
GROUP BY model
ORDER BY model;
