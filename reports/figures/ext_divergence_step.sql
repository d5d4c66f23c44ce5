-- Extension. The share of greedy texts that are still the dense model's at each step.
-- One row per (model, variant, step): a step function that falls from 1 to the share of intact texts.
WITH written AS (
    SELECT
        model,
        variant,
        method,
        prompt,
        coalesce(first_divergence, 1000000) AS parted
    FROM generated_text
    INNER JOIN compression_run USING (model, variant)
    WHERE sampling_temperature = 0
),

steps AS (
    SELECT
        model,
        unnest(range(0, 1 + max(parted) FILTER (parted < 1000000))) AS step
    FROM written
    GROUP BY model
)

SELECT
    model,
    method,
    variant,
    step,
    avg((parted >= step)::INT) AS staying,
    count(*) AS prompts
FROM written
INNER JOIN steps USING (model)
GROUP BY ALL
ORDER BY model, method, variant, step;

-- Findings: the median step of divergence, and the number of degenerate texts.
WITH written AS (
    SELECT
        model,
        variant,
        sampling_temperature,
        median(coalesce(first_divergence, len(dense_token_ids))) AS parted,
        count(first_divergence) AS diverged,
        count(*) FILTER (verdict = 'degenerate') AS degenerate,
        count(*) AS prompts
    FROM generated_text
    GROUP BY ALL
),

findings AS (
    SELECT
        model,
        variant,
        sampling_temperature AS place,
        format(
            '{}{}: {} of {} texts differ from the dense model''s{}; {} of {} are degenerate.',
            variant,
            if(
                sampling_temperature = 0,
                '',
                format(', sampled at T = {:.2g}', sampling_temperature)
            ),
            diverged,
            prompts,
            if(2 * diverged > prompts, format(', half of all by token {:.0f}', parted), ''),
            degenerate,
            prompts
        ) AS finding
    FROM written

    UNION ALL BY NAME

    SELECT
        model,
        '' AS variant,
        -1 AS place,
        format(
            'The median step at which texts diverge is {:.0f} over quantized variants and {:.0f} '
            'over pruned ones. Texts that never diverge count with their length.',
            median(parted) FILTER (variant LIKE '%bit'),
            median(parted) FILTER (variant NOT LIKE '%bit')
        ) AS finding
    FROM written
    WHERE sampling_temperature = 0
    GROUP BY model
    HAVING count(*) FILTER (variant LIKE '%bit') BETWEEN 1 AND count(*) - 1
)

SELECT
    model,
    finding
FROM findings
ORDER BY model, place, variant;
