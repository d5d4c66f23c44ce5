-- Scores of variants with zeroed weights by method and pattern, with the dense scores among them.
-- One row per (model, method, variant, task); place orders patterns from dense to the strictest.
SELECT
    model,
    method,
    variant,
    pattern,
    place,
    task,
    metric,
    family,
    n_shot,
    n_items,
    score,
    low,
    high,
    share_of_dense
FROM headline_scores
INNER JOIN zeroed_patterns USING (model, variant)
