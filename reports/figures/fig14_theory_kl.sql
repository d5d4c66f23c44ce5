-- Figure 14. Every attention sublayer dropped, one at a time, T = 1: KL, measured and estimated.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    nullif(avg(measured), 0) AS measured, -- a logarithmic axis has no zero
    nullif(avg(estimated), 0) AS estimated,
    count(*) AS prompts
FROM attention_estimates
WHERE quantity = 'kl_divergence'
GROUP BY ALL
ORDER BY ALL;

-- Findings: the estimate beside the measurement at every (prompt, step, block).
WITH said AS (
    SELECT
        model,
        place,
        finding,
        agrees
    FROM estimate_findings
    WHERE quantity = 'kl_divergence'

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        finding,
        agrees
    FROM deeper_findings
    WHERE quantity = 'kl_divergence'

    UNION ALL BY NAME

    SELECT
        model,
        4 AS place,
        format(
            'Beyond the paper: the third and the fourth order bring the median relative error to '
            '{:.1f} % and {:.1f} %; they are off by more than a factor of two, or negative, at '
            '{:.1f} % and {:.1f} % of all points (second order: {:.1f} %).',
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
            'points and lies a median factor of {:.3g} above the measurement.',
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
FROM said
ORDER BY model, place;
