-- Retrieval against the number of dropped sublayers, and under every pattern of zeroed weights:
-- nDCG@10 of each set, model by model.
-- One row per (model, retrieval_set, dropped, n_drop) or (model, retrieval_set, method, pattern),
-- dense among them; 95 % bootstrap intervals over queries.
CREATE TEMP VIEW damages AS
SELECT
    model,
    variant,
    dropped,
    n_drop,
    n_drop AS place
FROM drop_sizes
UNION ALL BY NAME
SELECT
    model,
    variant,
    method,
    pattern,
    place
FROM zeroed_patterns;

SELECT
    model,
    retrieval_set,
    dropped,
    n_drop,
    method,
    pattern,
    avg(ndcg_at_10) AS score,
    bootstrap_mean(list(ndcg_at_10 ORDER BY query), 0.025) AS low,
    bootstrap_mean(list(ndcg_at_10 ORDER BY query), 0.975) AS high,
    avg(recall_at_100) AS recall,
    count(*) AS n_queries,
    count(*) FILTER (n_cut > 0) AS n_cut
FROM retrieval_samples
INNER JOIN damages USING (model, variant)
GROUP BY ALL
ORDER BY model, retrieval_set, dropped, method, min(place);

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
        method,
        variant,
        place,
        avg(dense_ndcg) AS dense_ndcg,
        avg(ndcg_at_10) AS ndcg,
        avg(rank - dense_rank) AS moved
    FROM retrieval_samples
    INNER JOIN damages USING (model, variant)
    INNER JOIN dense USING (model, retrieval_set, query)
    WHERE n_drop IN (2, 4) OR (method IS NOT NULL AND variant <> 'dense')
    GROUP BY ALL
)

SELECT
    model,
    format(
        '{}, {}: nDCG@10 {:.3f}, dense {:.3f}; the best relevant document moves down by {:.1f} '
        'places on average.',
        retrieval_set,
        if(dropped IS NULL, variant, format('{} {} dropped', n_drop, parts_called(dropped))),
        ndcg,
        dense_ndcg,
        moved
    ) AS finding,
    cast(NULL AS BOOLEAN) AS agrees
FROM kept
ORDER BY model, retrieval_set, dropped, method, place;

SELECT
    model,
    format(
        '{}: {} of {} queries are longer than embedding/max_length, or one of their relevant '
        'documents is: what lies beyond it was not read.',
        retrieval_set,
        count(*) FILTER (n_cut > 0),
        count(*)
    ) AS finding,
    cast(NULL AS BOOLEAN) AS agrees
FROM retrieval_samples
WHERE variant = 'dense'
GROUP BY model, retrieval_set
HAVING count(*) FILTER (n_cut > 0) > 0
ORDER BY model, retrieval_set;
