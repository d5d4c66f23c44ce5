-- Where the second-order story holds, T = 1, greedy: error of each estimate against the shift.
-- One row per (model, estimate, bin): bins are half decades of the standard deviation of Δz under p;
-- median and quartiles of estimated / measured over variants, histories, prompts and steps.
WITH sized AS (
    SELECT
        model,
        variant,
        prompt,
        history,
        step,
        sqrt(var_p) AS size
    FROM decoding_shift
    WHERE sampling_temperature = 0 AND temperature = 1 AND var_p > 0
),

ratios AS (
    SELECT
        model,
        if(quantity = 'kl_bound', 'bound', 'order ' || "order") AS estimate,
        round(2 * log10(size)) / 2 AS decade,
        estimated / measured AS ratio
    FROM decoding_deviation
    INNER JOIN sized USING (model, variant, prompt, history, step)
    WHERE
        sampling_temperature = 0 AND temperature = 1
        AND quantity IN ('kl_divergence', 'kl_bound') AND measured > 0
)

SELECT
    model,
    estimate,
    10 ^ decade AS size,
    median(ratio) AS middle,
    quantile_cont(ratio, 0.25) AS low,
    quantile_cont(ratio, 0.75) AS high,
    count(*) AS points
FROM ratios
GROUP BY ALL
HAVING count(*) >= 5
ORDER BY ALL;

-- Findings: up to where each order stays within a quarter, and where the bound lies.
WITH sized AS (
    SELECT
        model,
        variant,
        prompt,
        history,
        step,
        sqrt(var_p) AS size
    FROM decoding_shift
    WHERE sampling_temperature = 0 AND temperature = 1 AND var_p > 0
),

errors AS (
    SELECT
        model,
        quantity,
        "order" AS taken,
        round(2 * log10(size)) / 2 AS decade,
        median(abs(estimated / measured - 1)) AS relative_error,
        avg((estimated >= measured)::INT) AS above,
        count(*) AS points
    FROM decoding_deviation
    INNER JOIN sized USING (model, variant, prompt, history, step)
    WHERE
        sampling_temperature = 0 AND temperature = 1
        AND quantity IN ('kl_divergence', 'kl_bound') AND measured > 0
    GROUP BY ALL
    HAVING count(*) >= 5
),

said AS (
    SELECT
        model,
        taken AS place,
        format(
            'Order {}: the median error of KL stays within 25 % in {} of {} bins of shift size{}.',
            taken,
            count(*) FILTER (relative_error <= 0.25),
            count(*),
            coalesce(
                format(
                    ', the largest a standard deviation of {:.2g} logits',
                    10 ^ max(decade) FILTER (relative_error <= 0.25)
                ),
                ''
            )
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM errors
    WHERE quantity = 'kl_divergence'
    GROUP BY model, taken

    UNION ALL BY NAME

    SELECT
        model,
        9 AS place,
        format(
            'Hoeffding''s bound from the range of Δz lies above the measurement at {:.1f} % of '
            '{:,} points.',
            100 * sum(above * points) / sum(points),
            sum(points)::BIGINT
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM errors
    WHERE quantity = 'kl_bound'
    GROUP BY model
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place;
