-- The share of the dense score that each family of tasks keeps if weights are zeroed.
-- One row per (model, method, variant).
SELECT
    model,
    method,
    variant,
    variant || ': ' || kept_by_families(choosing, writing) AS finding,
    writing < choosing AS agrees
FROM family_shares
INNER JOIN compression_run USING (model, variant)
