-- Extension. Sublayers dropped one at a time, T = 1, read by lm_head alone (Eq. 2) and after the final norm.
-- One row per (model, readout, sublayer, block, quantity, series): a mean similarity, or a theorem's median relative error.
CREATE TEMP VIEW similarities AS
SELECT
    model,
    readout,
    sublayer,
    block,
    space,
    avg(1 - angular_deviation) AS similarity
FROM sublayer_trace
WHERE (temperature = 1 OR temperature IS NULL) AND space IN ('logit', 'probability')
GROUP BY ALL;

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
    similarity AS shown
FROM similarities
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

-- Findings: errors of the theorems and similarities, by readout.
WITH missed AS (
    SELECT
        model,
        readout,
        median(error) FILTER (theorem = 'Theorem 1 in z') AS theorem_1,
        median(error) FILTER (theorem = 'Theorem 2') AS theorem_2,
        median(error) FILTER (theorem = 'Theorem 3') AS theorem_3
    FROM errors
    WHERE sublayer = 'attn'
    GROUP BY model, readout
),

levels AS (
    SELECT
        model,
        readout,
        avg(similarity) FILTER (space = 'logit') AS logit,
        avg(similarity) FILTER (space = 'probability') AS probability
    FROM similarities
    GROUP BY model, readout
),

findings AS (
    SELECT
        alone.model,
        1 AS place,
        format(
            'If attention sublayers are dropped, the median relative errors of Theorem 1 (in z), '
            'Theorem 2 and Theorem 3 are {}, {} and {} if states are read by lm_head alone '
            '(Eq. 2), and {}, {} and {} if they are read after the final norm.',
            percent(alone.theorem_1),
            percent(alone.theorem_2),
            percent(alone.theorem_3),
            percent(normed.theorem_1),
            percent(normed.theorem_2),
            percent(normed.theorem_3)
        ) AS finding
    FROM missed AS alone
    INNER JOIN missed AS normed USING (model)
    WHERE alone.readout = 'lm_head' AND normed.readout = 'final_norm'

    UNION ALL BY NAME

    SELECT
        alone.model,
        2 AS place,
        format(
            'The mean similarity of logits and of probabilities with dense is {:.4f} and {:.3f} by '
            'lm_head alone, and {:.4f} and {:.3f} after the final norm. {}',
            alone.logit,
            alone.probability,
            normed.logit,
            normed.probability,
            CASE
                WHEN alone.probability < alone.logit AND normed.probability < normed.logit
                    THEN 'In both readouts probabilities are the less similar of the two.'
                WHEN alone.probability < alone.logit
                    THEN 'Probabilities are the less similar of the two only by lm_head alone.'
                WHEN normed.probability < normed.logit
                    THEN 'Probabilities are the less similar of the two only after the norm.'
                ELSE 'In neither readout are probabilities the less similar of the two.'
            END
        ) AS finding
    FROM levels AS alone
    INNER JOIN levels AS normed USING (model)
    WHERE alone.readout = 'lm_head' AND normed.readout = 'final_norm'
)

SELECT
    model,
    finding
FROM findings
ORDER BY model, place;
