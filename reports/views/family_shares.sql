-- What tasks that choose and tasks that write keep of dense: mean share of its score over tasks.
-- One row per (model, variant) that has both families.
SELECT
    model,
    variant,
    avg(share_of_dense) FILTER (family = 'non_generative') AS choosing,
    avg(share_of_dense) FILTER (family = 'generative') AS writing
FROM headline_scores
GROUP BY ALL
HAVING choosing IS NOT NULL AND writing IS NOT NULL
