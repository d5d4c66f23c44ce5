-- Extension. Sublayers dropped one at a time, T = 1, read by lm_head alone (Eq. 2) and after the final norm.
-- One row per (model, readout, sublayer, block, quantity, series): a mean similarity, or a theorem's median relative error.
CREATE TEMP VIEW errors AS
SELECT
    model,
    readout,
    sublayer,
    block,
    CASE
        WHEN quantity = 'kl_divergence' THEN 'Theorem 3'
        WHEN space = 'probability' THEN 'Theorem 2'
        ELSE 'Theorem 1 in z'
    END AS theorem,
    abs(estimated / measured - 1) AS error
FROM deviation
WHERE
    "order" = 2 AND (temperature = 1 OR temperature IS NULL) AND space <> 'embedding'
    AND measured > 0;

SELECT
    model,
    readout,
    sublayer,
    block,
    'similarity' AS quantity,
    space AS series,
    avg(1 - angular_deviation) AS shown
FROM sublayer_trace
WHERE (temperature = 1 OR temperature IS NULL) AND space IN ('logit', 'probability')
GROUP BY ALL
UNION ALL
SELECT
    model,
    readout,
    sublayer,
    block,
    'error' AS quantity,
    theorem AS series,
    nullif(median(error), 0) AS shown
FROM errors
GROUP BY ALL
ORDER BY ALL;

-- Findings: how much each theorem errs by either readout.
WITH medians AS (
    SELECT
        model,
        theorem,
        median(error) FILTER (readout = 'lm_head') AS alone,
        median(error) FILTER (readout = 'final_norm') AS normed
    FROM errors
    WHERE sublayer = 'attn'
    GROUP BY ALL
    HAVING alone IS NOT NULL AND normed IS NOT NULL
)

SELECT
    model,
    format(
        'If attention sublayers are dropped and states are read by lm_head alone (Eq. 2) or after '
        'the final norm, the median relative error is {}.',
        string_agg(
            format('{} or {} for {}', percent(alone), percent(normed), theorem), ', '
            ORDER BY theorem
        )
    ) AS finding
FROM medians
GROUP BY model
ORDER BY model;
