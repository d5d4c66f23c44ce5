-- Extension. The error of each estimate of KL against the size of the shift, T = 1, greedy.
-- One row per (model, weights, estimate, bin): bins are quarter decades of the standard deviation of
-- Δz, under p or over all tokens equally; median and quartiles of estimated / measured are over
-- variants, histories, prompts and steps.
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

-- Findings: the size of shift up to which each order is close, and the looseness of the bound.
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

-- A bin is held if the error is at most a quarter in it and in each bin of smaller shifts.
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
                'at no size (at {:.2g} logits, the smallest, it is {:.0f} %)',
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

findings AS (
    SELECT
        model,
        taken AS place,
        format(
            'The median error of the estimate of order {} is at most 25 % {} if shifts are binned '
            'by the standard deviation of Δz under p, and {} if they are binned by that over all '
            'tokens equally.',
            taken,
            any_value(reach) FILTER (weights = 'p'),
            any_value(reach) FILTER (weights = 'uniform')
        ) AS finding
    FROM reached
    GROUP BY model, taken
    HAVING count(*) = 2

    UNION ALL BY NAME

    SELECT
        model,
        8 AS place,
        format(
            'The median error of order 2 by history is {}.',
            string_agg(
                format('{:.0f} % ({})', 100 * relative_error, replace(history, '_', ' ')), ', '
                ORDER BY relative_error
            )
        ) AS finding
    FROM by_history
    GROUP BY model

    UNION ALL BY NAME

    SELECT
        model,
        9 AS place,
        format(
            'Hoeffding''s bound from the range of Δz is at least the measurement at {:.1f} % of '
            '{:,} points. At the median it is {:.3g} times the measurement.',
            100 * avg((estimated >= measured)::INT),
            count(*),
            median(estimated / measured)
        ) AS finding
    FROM compared
    WHERE quantity = 'kl_bound' AND weights = 'p'
    GROUP BY model
)

SELECT
    model,
    finding
FROM findings
ORDER BY model, place;
