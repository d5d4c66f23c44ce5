-- What each family of tasks keeps if weights are zeroed, and whether generation keeps less.
-- One row per (model, method, variant); verdicts are corrected for the variants of a method.
WITH tested AS (
    SELECT
        *,
        count(p_value) OVER (PARTITION BY model, method) AS n_tests
    FROM family_contrasts
    INNER JOIN compression_run USING (model, variant)
)

SELECT
    model,
    method,
    variant,
    format(
        '{}: {}{}',
        variant,
        evidence,
        contrast_undecided(difference, p_value, n_tests, n_items, items_to_decide)
    ) AS finding,
    contrast_verdict(difference, p_value, n_tests, n_items) AS agrees
FROM tested
