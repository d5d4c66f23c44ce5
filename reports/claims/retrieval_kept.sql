-- Per number of dropped parts, set and query: nDCG@10 minus dense's.
SELECT
    samples.model,
    samples.retrieval_set || ', ' || counted_parts(n_drop, dropped) || ' dropped' AS subject,
    samples.query AS unit,
    samples.ndcg_at_10 - dense.ndcg_at_10 AS measured
FROM retrieval_samples AS samples
INNER JOIN drop_sizes USING (model, variant)
INNER JOIN retrieval_samples AS dense USING (model, retrieval_set, query)
WHERE dense.variant = 'dense' AND n_drop = 1
ORDER BY ALL
