-- Retrieval against the number of dropped sublayers: nDCG@10 of each set, model by model.
-- One row per (model, retrieval_set, dropped, n_drop), dense as n_drop 0; 95 % bootstrap intervals
-- over queries, and the mean rank of the best relevant document beside dense's.
SELECT
    model,
    retrieval_set,
    dropped,
    n_drop,
    avg(ndcg_at_10) AS score,
    bootstrap_mean(list(ndcg_at_10 ORDER BY query), 0.025) AS low,
    bootstrap_mean(list(ndcg_at_10 ORDER BY query), 0.975) AS high,
    avg(recall_at_100) AS recall,
    count(*) AS n_queries
FROM retrieval_samples
INNER JOIN drop_sizes USING (model, variant)
GROUP BY ALL
ORDER BY model, retrieval_set, dropped, n_drop;

-- Findings: what is left, and how far relevant documents move.
WITH dense AS (
    SELECT
        model,
        retrieval_set,
        query,
        ndcg_at_10 AS dense_ndcg,
        rank AS dense_rank
    FROM retrieval_samples
    WHERE variant = 'dense'
),

kept AS (
    SELECT
        model,
        retrieval_set,
        dropped,
        n_drop,
        avg(dense_ndcg) AS dense_ndcg,
        avg(ndcg_at_10) AS ndcg,
        avg(rank - dense_rank) AS moved
    FROM retrieval_samples
    INNER JOIN drop_sizes USING (model, variant)
    INNER JOIN dense USING (model, retrieval_set, query)
    GROUP BY ALL
)

SELECT
    model,
    format(
        '{}, {} {} dropped: nDCG@10 {:.3f}, dense {:.3f}; the best relevant document '
        'moves down by {:.1f} places on average.',
        retrieval_set,
        n_drop,
        parts_called(dropped),
        ndcg,
        dense_ndcg,
        moved
    ) AS finding,
    cast(NULL AS BOOLEAN) AS agrees
FROM kept
WHERE n_drop IN (2, 4)
ORDER BY model, retrieval_set, dropped, n_drop;
