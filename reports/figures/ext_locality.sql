-- Extension. The error of each estimate of KL against the size of the shift, T = 1, greedy.
-- One row per (model, weights, estimate, bin): bins are quarter decades of the standard deviation of
-- Δz, under p or over all tokens equally; median and quartiles of estimated / measured are over
-- variants, histories, prompts and steps.
CREATE TEMP VIEW bins AS
SELECT
    model,
    weights,
    estimate,
    10 ^ decade AS size,
    median(ratio) AS middle,
    quantile_cont(ratio, 0.25) AS low,
    quantile_cont(ratio, 0.75) AS high,
    count(*) AS points,
    median(abs(ratio - 1)) AS error
FROM estimates_by_shift
GROUP BY model, weights, estimate, decade
HAVING count(*) >= 20;

SELECT * EXCLUDE (error)
FROM bins
ORDER BY ALL;

-- Findings: the size of shift up to which each order is close, and the looseness of the bound.
-- A bin counts if the error is at most a quarter in it and in each bin of smaller shifts.
WITH counted AS (
    SELECT
        *,
        max(error) OVER (PARTITION BY model, weights, estimate ORDER BY size) <= 0.25 AS is_close
    FROM bins
    WHERE estimate <> 'bound'
),

reached AS (
    SELECT
        model,
        weights,
        estimate,
        max(size) FILTER (is_close) AS size
    FROM counted
    GROUP BY ALL
)

SELECT
    model,
    format(
        'By the standard deviation of Δz {}, the median error of the estimate stays within '
        '25 % {}.',
        if(weights = 'p', 'under p', 'over all tokens equally'),
        string_agg(
            coalesce(format('up to {:.2g} logits', size), 'at no size')
            || ' in ' || estimate, ', '
            ORDER BY estimate
        )
    ) AS finding
FROM reached
GROUP BY model, weights
ORDER BY model, weights;

SELECT
    model,
    format(
        'Hoeffding''s bound from the range of Δz is at least the measurement at {:.1f} % of '
        '{:,} points. At the median it is {:.3g} times the measurement.',
        100 * avg((ratio >= 1)::INT),
        count(*),
        median(ratio)
    ) AS finding
FROM estimates_by_shift
WHERE estimate = 'bound' AND weights = 'p'
GROUP BY model
ORDER BY model;
