-- Extension. nDCG@10 of each retrieval set and model, against the number of dropped parts and under
-- each pattern of zeroed weights.
-- One row per (model, retrieval_set, dropped, n_drop) or (model, retrieval_set, method, pattern),
-- including dense, with 95 % bootstrap intervals over queries.
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
    part_name(dropped) || 's' AS parts,
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

-- Findings: the score that is left, and the change in rank of relevant documents.
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
        '{}, {}: nDCG@10 is {:.3f} (dense {:.3f}). The first relevant document {} on average.',
        retrieval_set,
        if(dropped IS NULL, variant, counted_parts(n_drop, dropped) || ' dropped'),
        ndcg,
        dense_ndcg,
        CASE
            WHEN round(abs(moved), 1) = 0 THEN 'keeps its rank'
            ELSE format('moves {} by {:.1f} ranks', if(moved > 0, 'down', 'up'), abs(moved))
        END
    ) AS finding
FROM kept
ORDER BY model, retrieval_set, dropped, method, place;

SELECT
    model,
    format(
        '{}: for {} of {} queries, the query or one of its relevant documents is longer than '
        'embedding/max_length. The rest of such a text was not read.',
        retrieval_set,
        count(*) FILTER (n_cut > 0),
        count(*)
    ) AS finding
FROM retrieval_samples
WHERE variant = 'dense'
GROUP BY model, retrieval_set
HAVING count(*) FILTER (n_cut > 0) > 0
ORDER BY model, retrieval_set;
