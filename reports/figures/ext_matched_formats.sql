-- Extension. The same items asked in three formats: the share that is answered correctly.
-- One row per (model, variant, format): the items of all sources together, with 95 % bootstrap
-- intervals over items, and the share of answers that are the same as the dense model's.
CREATE TEMP VIEW asked AS
SELECT
    model,
    variant,
    method,
    matched_samples.format AS asked_as,
    source,
    item,
    correct::INT AS correct,
    text AS answered
FROM matched_samples
INNER JOIN compression_run USING (model, variant)
WHERE correct IS NOT NULL;

WITH dense AS (
    SELECT
        model,
        asked_as,
        source,
        item,
        answered AS dense_answered
    FROM asked
    WHERE method = 'identity'
)

SELECT
    model,
    variant,
    method,
    asked_as,
    avg(correct) AS score,
    bootstrap_mean(list(correct ORDER BY source, item), 0.025) AS low,
    bootstrap_mean(list(correct ORDER BY source, item), 0.975) AS high,
    avg((answered = dense_answered)::INT) AS agreement,
    count(*) AS items
FROM asked
INNER JOIN dense USING (model, asked_as, source, item)
GROUP BY ALL
ORDER BY model, method, variant, asked_as;

-- Findings: the correct answers and the unchanged answers of each format.
WITH dense AS (
    SELECT
        model,
        asked_as,
        source,
        item,
        correct AS dense_correct,
        answered AS dense_answered
    FROM asked
    WHERE method = 'identity'
),

kept AS (
    SELECT
        model,
        variant,
        asked_as,
        avg(correct) AS score,
        avg(dense_correct) AS dense_score,
        avg((answered = dense_answered)::INT) AS agreement
    FROM asked
    INNER JOIN dense USING (model, asked_as, source, item)
    WHERE method <> 'identity'
    GROUP BY ALL
)

SELECT
    model,
    format(
        '{}: {}.',
        variant,
        string_agg(
            format(
                '{} has {:.0f} % correct answers (dense {:.0f} %) and gives the dense answer to '
                '{:.0f} % of the items',
                replace(asked_as, '_', ' '),
                100 * score,
                100 * dense_score,
                100 * agreement
            ),
            '; '
            ORDER BY asked_as
        )
    ) AS finding
FROM kept
GROUP BY model, variant
ORDER BY model, variant;
