-- When variants leave the dense text, greedily: share of prompts still on it at each step.
-- One row per (model, variant, step): a step function, from 1 at step 0 down to the intact texts.
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

-- Findings: the median step, verdicts, and whether stronger compression leaves earlier.
WITH written AS (
    SELECT
        model,
        variant,
        sampling_temperature,
        median(coalesce(first_divergence, len(dense_token_ids))) AS parted,
        count(*) FILTER (verdict = 'degenerate') AS degenerate,
        count(*) AS prompts
    FROM generated_text
    GROUP BY ALL
),

said AS (
    SELECT
        model,
        variant,
        sampling_temperature AS place,
        format(
            '{}{}: half of the texts have left dense''s by token {:.0f}; {} of {} are degenerate.',
            variant,
            if(
                sampling_temperature = 0,
                '',
                format(', sampled at T = {:.2g}', sampling_temperature)
            ),
            parted,
            degenerate,
            prompts
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM written

    UNION ALL BY NAME

    SELECT
        weak.model,
        '' AS variant,
        -1 AS place,
        format(
            'Median step of divergence over methods that quantize {:.0f}, over those that prune '
            '{:.0f}.',
            median(weak.parted) FILTER (weak.variant LIKE '%bit'),
            median(weak.parted) FILTER (weak.variant NOT LIKE '%bit')
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM written AS weak
    WHERE weak.sampling_temperature = 0
    GROUP BY weak.model
    HAVING count(*) FILTER (weak.variant LIKE '%bit') > 0
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place, variant;
