-- The share of the dense score that multiple-choice tasks (choosing) and generation tasks (writing)
-- keep, as a mean over the tasks of the family.
-- One row per (model, variant) that has both families.
SELECT
    model,
    variant,
    avg(share_of_dense) FILTER (family = 'non_generative') AS choosing,
    avg(share_of_dense) FILTER (family = 'generative') AS writing
FROM headline_scores
GROUP BY ALL
HAVING choosing IS NOT NULL AND writing IS NOT NULL
