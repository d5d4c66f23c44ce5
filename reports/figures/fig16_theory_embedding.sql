-- Figure 16. Every attention sublayer dropped, one at a time: 1 - cos of hidden states, measured and estimated.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    nullif(avg(measured), 0) AS measured, -- a logarithmic axis has no zero
    nullif(avg(estimated), 0) AS estimated,
    count(*) AS prompts
FROM deviation
WHERE
    sublayer = 'attn' AND quantity = 'angular_deviation' AND space = 'embedding'
GROUP BY ALL
ORDER BY ALL;

-- Findings: the estimate beside the measurement at every (prompt, step, block).
WITH traced AS (
    SELECT
        model,
        block,
        max(block) OVER (PARTITION BY model) AS last_block,
        measured,
        estimated,
        abs(estimated / measured - 1) AS error
    FROM deviation
    WHERE
        sublayer = 'attn' AND quantity = 'angular_deviation' AND space = 'embedding'
        AND measured > 0
),

by_block AS (
    SELECT
        model,
        block,
        block IN (0, last_block) AS at_an_end,
        median(error) AS error
    FROM traced
    GROUP BY ALL
),

said AS (
    SELECT
        model,
        1 AS place,
        format(
            'The estimate of 1 − cos in embeddings has a median relative error of {:.2f} % and a '
            'correlation with the measurement of {:.3f} ({:.3f} between logarithms), over {:,} '
            'prompts, steps and blocks.',
            100 * median(error),
            corr(measured, estimated),
            corr(ln(measured), ln(nullif(estimated, 0))),
            count(*)
        ) AS finding,
        median(error) <= 0.25 AS agrees
    FROM traced
    GROUP BY ALL

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        format(
            'The median relative error exceeds 25 % at {} of {} blocks{}; it is largest at block '
            '{} ({:.2f} %). '
            'The paper expects exceptions at the first and the last block only.',
            count(*) FILTER (error > 0.25),
            count(*),
            CASE
                WHEN bool_and(error > 0.25) OR NOT bool_or(error > 0.25) THEN ''
                WHEN 2 * count(*) FILTER (error > 0.25) > count(*)
                    THEN
                        ', not at '
                        || string_agg(block, ', ' ORDER BY block) FILTER (error <= 0.25)
                ELSE ': ' || string_agg(block, ', ' ORDER BY block) FILTER (error > 0.25)
            END,
            arg_max(block, error),
            100 * max(error)
        ) AS finding,
        bool_and(at_an_end OR error <= 0.25) AS agrees
    FROM by_block
    GROUP BY ALL

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        format(
            'Embeddings deviate less than probabilities at {:.0f} % of all prompts, steps and '
            'blocks (median factor {:.3g}; on average {:.3g} against {:.3g}).{}',
            100 * avg((here < probability)::INT),
            median(probability / nullif(here, 0)),
            avg(here),
            avg(probability),
            if(
                (avg((here < probability)::INT) > 0.5) = (avg(here) < avg(probability)),
                '',
                ' Share and means disagree: no verdict.'
            )
        ) AS finding,
        if(
            (avg((here < probability)::INT) > 0.5) = (avg(here) < avg(probability)),
            avg(here) < avg(probability),
            NULL
        ) AS agrees
    FROM (
        SELECT
            model,
            max(measured) FILTER (space = 'embedding') AS here,
            max(measured) FILTER (space = 'probability') AS probability
        FROM deviation
        WHERE
            sublayer = 'attn' AND quantity = 'angular_deviation'
            AND (temperature = 1 OR temperature IS NULL)
        GROUP BY model, prompt, step, block
    )
    GROUP BY ALL
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place;
