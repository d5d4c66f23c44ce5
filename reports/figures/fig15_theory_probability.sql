-- Figure 15. Every attention sublayer dropped, one at a time, T = 1: 1 - cos of probabilities, measured and estimated.
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
    sublayer = 'attn' AND temperature = 1
    AND quantity = 'angular_deviation' AND space = 'probability'
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
        sublayer = 'attn' AND temperature = 1
        AND quantity = 'angular_deviation' AND space = 'probability'
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

by_depth AS (
    SELECT
        model,
        median(measured) FILTER (3 * block <= last_block) AS early,
        avg(measured) FILTER (3 * block <= last_block) AS early_mean,
        median(measured) FILTER (3 * block >= 2 * last_block) AS late,
        avg(measured) FILTER (3 * block >= 2 * last_block) AS late_mean
    FROM traced
    GROUP BY ALL
),

said AS (
    SELECT
        model,
        1 AS place,
        format(
            'The estimate of 1 − cos(p, q) has a median relative error of {:.1f} % and a '
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
            '{} ({:.1f} %).',
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
        NULL::BOOLEAN AS agrees
    FROM by_block
    GROUP BY ALL

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        format(
            'Median (mean) 1 − cos(p, q): {:.2g} ({:.2g}) over the first third of the blocks, '
            '{:.2g} ({:.2g}) over the last. The paper finds larger shifts in deeper blocks.{}',
            early,
            early_mean,
            late,
            late_mean,
            if(
                (late > early) = (late_mean > early_mean),
                '',
                ' Median and mean disagree: no verdict.'
            )
        ) AS finding,
        if((late > early) = (late_mean > early_mean), late > early, NULL) AS agrees
    FROM by_depth
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place;
