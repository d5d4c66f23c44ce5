-- By how many ranks the first relevant document moves down, compared with dense; a mean over queries.
-- One row per (model, variant, name), the name of the retrieval set.
SELECT
    samples.model,
    samples.variant,
    samples.retrieval_set AS name, -- noqa: RF04
    avg(samples.rank - dense.rank) AS moved
FROM retrieval_samples AS samples
INNER JOIN retrieval_samples AS dense USING (model, retrieval_set, query)
WHERE dense.variant = 'dense'
GROUP BY ALL
