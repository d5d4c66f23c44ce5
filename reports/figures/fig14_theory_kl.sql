-- Figure 14. Attention sublayers dropped one at a time, T = 1: KL, measured and estimated.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    measured,
    estimated,
    prompts
FROM estimates_by_step
WHERE quantity = 'kl_divergence'
ORDER BY ALL;

-- Findings: the estimate compared with the measurement at each (prompt, step, block).
WITH findings AS (
    SELECT
        model,
        place,
        finding,
        agrees
    FROM theorem_findings
    WHERE quantity = 'kl_divergence'

    UNION ALL BY NAME

    SELECT
        model,
        4 AS place,
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
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM deviation
    WHERE
        sublayer = 'attn' AND temperature = 1 AND quantity = 'kl_divergence' AND measured > 0
    GROUP BY ALL

    UNION ALL BY NAME

    SELECT
        model,
        5 AS place,
        format(
            'Beyond the paper: Hoeffding''s bound from the range of Δz holds at {:.0f} % of all '
            'points. At the median it is {:.3g} times the measurement.',
            100 * avg((estimated >= measured)::INT),
            median(estimated / measured)
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM deviation
    WHERE sublayer = 'attn' AND temperature = 1 AND quantity = 'kl_bound' AND measured > 0
    GROUP BY ALL
)

SELECT
    model,
    finding,
    agrees
FROM findings
ORDER BY model, place;
