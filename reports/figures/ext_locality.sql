-- Where the second-order story holds, T = 1, greedy: error of each estimate against the shift.
-- One row per (model, weights, estimate, bin): bins are quarter decades of the standard deviation of
-- Δz, under p or with all tokens alike; median and quartiles of estimated / measured over variants,
-- histories, prompts and steps.
CREATE TEMP VIEW sized AS
SELECT
    model,
    variant,
    prompt,
    history,
    step,
    if(temperature IS NULL, 'uniform', 'p') AS weights,
    sqrt(if(temperature IS NULL, var_uniform, var_p)) AS size
FROM decoding_shift
WHERE
    sampling_temperature = 0
    AND history IN ('dense_cache', 'prompt_perturbed', 'teacher_forced', 'free_running')
    AND (temperature = 1 OR temperature IS NULL);

WITH ratios AS (
    SELECT
        model,
        weights,
        if(quantity = 'kl_bound', 'bound', 'order ' || "order") AS estimate,
        round(4 * log10(size)) / 4 AS decade,
        estimated / measured AS ratio
    FROM decoding_deviation
    INNER JOIN sized USING (model, variant, prompt, history, step)
    WHERE
        sampling_temperature = 0 AND temperature = 1
        AND quantity IN ('kl_divergence', 'kl_bound') AND measured > 0 AND size > 0
)

SELECT
    model,
    weights,
    estimate,
    10 ^ decade AS size,
    median(ratio) AS middle,
    quantile_cont(ratio, 0.25) AS low,
    quantile_cont(ratio, 0.75) AS high,
    count(*) AS points
FROM ratios
GROUP BY ALL
HAVING count(*) >= 20
ORDER BY ALL;

-- Findings: up to where each order stays within a quarter, and where the bound lies.
WITH compared AS (
    SELECT
        model,
        weights,
        history,
        quantity,
        "order" AS taken,
        round(4 * log10(size)) / 4 AS decade,
        measured,
        estimated,
        abs(estimated / measured - 1) AS relative_error
    FROM decoding_deviation
    INNER JOIN sized USING (model, variant, prompt, history, step)
    WHERE
        sampling_temperature = 0 AND temperature = 1
        AND quantity IN ('kl_divergence', 'kl_bound') AND measured > 0 AND size > 0
),

bins AS (
    SELECT
        model,
        weights,
        taken,
        decade,
        median(relative_error) AS relative_error
    FROM compared
    WHERE quantity = 'kl_divergence'
    GROUP BY ALL
    HAVING count(*) >= 20
),

-- A bin is held where it and every bin of smaller shifts stay within a quarter.
held AS (
    SELECT
        *,
        max(relative_error) OVER (PARTITION BY model, weights, taken ORDER BY decade)
        <= 0.25 AS is_held
    FROM bins
),

reached AS (
    SELECT
        model,
        weights,
        taken,
        coalesce(
            format('up to {:.2g} logits', 10 ^ max(decade) FILTER (is_held)),
            format(
                'not even for the smallest shifts ({:.2g} logits: {:.0f} % off)',
                10 ^ min(decade),
                100 * arg_min(relative_error, decade)
            )
        ) AS reach
    FROM held
    GROUP BY ALL
),

by_history AS (
    SELECT
        model,
        history,
        median(relative_error) AS relative_error
    FROM compared
    WHERE quantity = 'kl_divergence' AND taken = 2 AND weights = 'p'
    GROUP BY ALL
),

said AS (
    SELECT
        model,
        taken AS place,
        format(
            'Order {}: binned by the standard deviation of Δz under p, the median error of KL '
            'stays within 25 % {}; binned by that over all tokens alike, {}.',
            taken,
            any_value(reach) FILTER (weights = 'p'),
            any_value(reach) FILTER (weights = 'uniform')
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM reached
    GROUP BY model, taken
    HAVING count(*) = 2

    UNION ALL BY NAME

    SELECT
        model,
        8 AS place,
        format(
            'Median error of order 2 by history: {}.',
            string_agg(
                format('{} {:.0f} %', replace(history, '_', ' '), 100 * relative_error), ', '
                ORDER BY relative_error
            )
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM by_history
    GROUP BY model

    UNION ALL BY NAME

    SELECT
        model,
        9 AS place,
        format(
            'Hoeffding''s bound from the range of Δz lies above the measurement at {:.1f} % of '
            '{:,} points, by a median factor of {:.3g}.',
            100 * avg((estimated >= measured)::INT),
            count(*),
            median(estimated / measured)
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM compared
    WHERE quantity = 'kl_bound' AND weights = 'p'
    GROUP BY model
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place;
