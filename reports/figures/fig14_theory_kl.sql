-- Figure 14. Attention sublayers dropped one at a time: KL, measured and estimated.
-- One row per (model, temperature, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    temperature,
    block,
    step,
    measured,
    estimated,
    prompts
FROM estimates_by_step
WHERE quantity = 'kl_divergence'
ORDER BY ALL;

-- Findings: where the estimate is far off, and what further orders and the bound do.
WITH beyond AS (
    SELECT
        model,
        format(
            'Beyond the paper: the median relative error of the third order is {:.1f} %, that of '
            'the fourth order {:.1f} %. The estimate is negative or wrong by more than a factor '
            'of two at {:.1f} % of all points in the third order and at {:.1f} % in the fourth '
            '(second order: {:.1f} %).',
            100 * median(abs(estimated / measured - 1)) FILTER ("order" = 3),
            100 * median(abs(estimated / measured - 1)) FILTER ("order" = 4),
            100 * avg((estimated NOT BETWEEN measured / 2 AND 2 * measured)::INT)
            FILTER ("order" = 3),
            100 * avg((estimated NOT BETWEEN measured / 2 AND 2 * measured)::INT)
            FILTER ("order" = 4),
            100 * avg((estimated NOT BETWEEN measured / 2 AND 2 * measured)::INT)
            FILTER ("order" = 2)
        ) AS orders,
        format(
            'Hoeffding''s bound from the range of Δz holds at {:.0f} % of all points. At the '
            'median it is {:.3g} times the measurement.',
            100 * avg((estimated >= measured)::INT) FILTER (quantity = 'kl_bound'),
            median(estimated / measured) FILTER (quantity = 'kl_bound')
        ) AS bound
    FROM deviation
    WHERE
        sublayer = 'attn' AND temperature = 1 AND measured > 0
        AND quantity IN ('kl_divergence', 'kl_bound')
    GROUP BY model
),

findings AS (
    SELECT
        model,
        1 AS place,
        finding
    FROM estimate_findings
    WHERE quantity = 'kl_divergence'

    UNION ALL BY NAME

    SELECT
        model,
        unnest([2, 3]) AS place,
        unnest([orders, bound]) AS finding
    FROM beyond
)

SELECT
    model,
    finding
FROM findings
ORDER BY model, place;
