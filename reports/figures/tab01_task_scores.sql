-- Table 1. Each variant compared with dense, task by task, on the same items.
-- One row per (model, variant, family, task), and one per family, with task NULL, for the mean over
-- its tasks. Scores are from 0 to 1; the paper's are from 0 to 100, as printed.
SELECT
    compared_scores.*, -- noqa: AM04
    parameters,
    parameters_dense,
    kv_cache_bytes_per_token,
    kv_cache_bytes_per_token_dense,
    prefill_tokens_per_second,
    prefill_tokens_per_second_dense,
    decode_tokens_per_second,
    decode_tokens_per_second_dense,
    device,
    threads
FROM compared_scores
LEFT JOIN variant_cost USING (model, variant)
ORDER BY
    bool_and(family = 'retrieval') OVER (PARTITION BY model, variant) ASC,
    model ASC,
    variant ASC,
    family = 'retrieval' ASC,
    family DESC,
    task IS NULL ASC,
    task ASC;

-- Findings: the share above chance that each family keeps, and the gap between choosing and writing.
SELECT
    model,
    format(
        '{}{}: of what the dense model scores above chance, {} (95 % intervals over items).{}{}',
        variant,
        coalesce(any_value(in_suite), ''),
        string_agg(
            format(
                '{} keep {:.0f} % ({:.0f} to {:.0f} %)',
                family_name(family), 100 * kept, 100 * kept_low, 100 * kept_high
            ), ', ' ORDER BY family DESC
        ),
        coalesce(
            format(
                ' The difference is {:.0f} points ({:.0f} to {:.0f}).',
                100 * any_value(measured), 100 * any_value(low), 100 * any_value(high)
            ), ''
        ),
        coalesce(
            ' In the paper, on its model, scores fall to '
            || string_agg(
                format('{:.0f} %', 100 * paper_score / paper_dense_score),
                ' and ' ORDER BY family DESC
            ) || ' of dense.', ''
        )
    ) AS finding
FROM compared_scores
LEFT JOIN score_contrasts USING (model, variant, suite)
WHERE task IS NULL AND kept IS NOT NULL
GROUP BY model, variant, suite
ORDER BY
    count(*) DESC, any_value(measured) DESC NULLS LAST, model ASC, variant ASC, suite ASC;

-- Findings: tests with p < 0.05, and how many could reach it: with five flips p is at least 0.06.
SELECT
    model,
    format(
        '{}: {} of {} exact McNemar tests have p < 0.05{}. That takes at least six flips; the '
        'number of tasks with so many is {}.',
        variant,
        count(*) FILTER (mcnemar_p < 0.05),
        count(*),
        coalesce(
            ' (' || string_agg(
                format('{}: {:.2g}', task, mcnemar_p), ', ' ORDER BY mcnemar_p, task
            ) FILTER (mcnemar_p < 0.05) || ')', ''
        ),
        count(*) FILTER (to_wrong + to_right >= 6)
    ) AS finding
FROM compared_scores
WHERE mcnemar_p IS NOT NULL AND task IS NOT NULL
GROUP BY model, variant
ORDER BY model, variant;
