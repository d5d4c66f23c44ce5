-- Figure 1. The headline score of each task against the number of dropped sublayers or blocks.
-- One row per (model, dropped, task, n_drop), dense as n_drop 0: the score with its 95 % interval, and
-- its share of the dense score.
SELECT
    model,
    dropped,
    part_name(dropped) || 's' AS parts,
    task,
    metric,
    family,
    n_shot,
    n_items,
    n_drop,
    score,
    low,
    high,
    share_of_dense
FROM headline_scores
INNER JOIN drop_sizes USING (model, variant)
ORDER BY model, dropped, task, n_drop;

-- Findings: what each family of tasks keeps if 4 or 8 parts are dropped, and whether generation keeps less.
WITH tested AS (
    SELECT
        *,
        count(p_value) OVER (PARTITION BY model) AS n_tests
    FROM family_contrasts
    INNER JOIN drop_sizes USING (model, variant)
    WHERE n_drop IN (4, 8)
)

SELECT
    model,
    format(
        'With {} dropped: {}{} The paper finds that generation falls first.',
        counted_parts(n_drop, dropped),
        evidence,
        contrast_undecided(difference, p_value, n_tests, n_items, items_to_decide)
    ) AS finding,
    contrast_verdict(difference, p_value, n_tests, n_items) AS agrees
FROM tested
ORDER BY model, dropped, n_drop;
