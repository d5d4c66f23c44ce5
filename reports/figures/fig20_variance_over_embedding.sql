-- Figure 20. Every attention sublayer dropped, T = 1: Var_r(Δz) over the magnitude ratio of h.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    nullif(avg(var_escort / nullif(relative_orthogonal_magnitude ** 2, 0)), 0) AS ratio,
    count(*) AS prompts
FROM logit_shift
INNER JOIN sublayer_trace USING (model, variant, prompt, step, block, sublayer)
WHERE sublayer = 'attn' AND space = 'embedding' AND logit_shift.temperature = 1
GROUP BY ALL
ORDER BY ALL;

-- Findings: the variance beside the magnitude ratio at every (prompt, step, block).
WITH traced AS (
    SELECT
        model,
        block,
        max(block) OVER (PARTITION BY model) AS last_block,
        var_escort / nullif(relative_orthogonal_magnitude ** 2, 0) AS ratio
    FROM logit_shift
    INNER JOIN sublayer_trace USING (model, variant, prompt, step, block, sublayer)
    WHERE sublayer = 'attn' AND space = 'embedding' AND logit_shift.temperature = 1
),

by_depth AS (
    SELECT
        model,
        median(ratio) FILTER (3 * block <= last_block) AS early,
        avg(ratio) FILTER (3 * block <= last_block) AS early_mean,
        median(ratio) FILTER (3 * block >= 2 * last_block) AS late,
        avg(ratio) FILTER (3 * block >= 2 * last_block) AS late_mean
    FROM traced
    GROUP BY ALL
),

said AS (
    SELECT
        model,
        1 AS place,
        format(
            'The variance of Δz exceeds the magnitude ratio of h at {:.0f} % of all prompts, '
            'steps and blocks; the median quotient is {:.3g}, the mean {:.3g}. The paper finds the '
            'variance substantially larger.',
            100 * avg((ratio > 1)::INT),
            median(ratio),
            avg(ratio)
        ) AS finding,
        avg((ratio > 1)::INT) > 0.5 AS agrees
    FROM traced
    GROUP BY ALL

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        format(
            'The median (mean) quotient is {:.3g} ({:.3g}) over the first third of the blocks, '
            '{:.3g} ({:.3g}) over the last. The paper finds it largest in the last layers.{}',
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
