-- The errors of the estimates in attention_estimates, overall and block by block.
-- One row per (model, quantity, space, place); place orders the findings about one quantity.
WITH traced AS (
    SELECT
        *,
        CASE
            WHEN quantity = 'kl_divergence' THEN 'KL'
            WHEN space = 'probability' THEN '1 − cos(p, q)'
            WHEN space = 'logit' THEN '1 − cos of logits'
            ELSE '1 − cos of hidden states'
        END AS spelled,
        space <> 'probability' AS fails_at_ends -- according to the paper
    FROM attention_estimates
    WHERE measured > 0
),

by_block AS (
    SELECT
        model,
        quantity,
        space,
        block,
        fails_at_ends,
        median(error) AS error
    FROM traced
    GROUP BY ALL
)

SELECT
    model,
    quantity,
    space,
    format(
        'The correlation of the estimate of {} with the measurement is {:.3f} ({:.3f} between '
        'logarithms) over {:,} prompts, steps and blocks.',
        spelled,
        corr(measured, estimated),
        corr(ln(measured), ln(nullif(estimated, 0))),
        count(*)
    ) AS finding,
    1 AS place
FROM traced
GROUP BY model, quantity, space, spelled

UNION ALL BY NAME

SELECT
    model,
    quantity,
    space,
    2 AS place,
    format(
        'The median relative error exceeds 25 % at {} of {} blocks{}. It is largest at block {} '
        '({}).{}',
        count(*) FILTER (error > 0.25),
        count(*),
        CASE
            WHEN bool_and(error > 0.25) OR NOT bool_or(error > 0.25) THEN ''
            WHEN 2 * count(*) FILTER (error > 0.25) > count(*)
                THEN
                    ' (all except '
                    || string_agg(block, ', ' ORDER BY block) FILTER (error <= 0.25) || ')'
            ELSE ' (' || string_agg(block, ', ' ORDER BY block) FILTER (error > 0.25) || ')'
        END,
        arg_max(block, error),
        percent(max(error)),
        if(
            fails_at_ends,
            ' The paper expects exceptions at the first and the last block only.',
            ''
        )
    ) AS finding
FROM by_block
GROUP BY model, quantity, space, fails_at_ends
