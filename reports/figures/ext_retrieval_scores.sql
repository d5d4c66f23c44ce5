-- Extension. nDCG@10 of each retrieval set and model, against the number of dropped parts and under
-- each pattern of zeroed weights.
-- One row per (model, retrieval_set, dropped, n_drop) or (model, retrieval_set, method, pattern),
-- including dense, with 95 % intervals over queries.
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
    scores.name AS retrieval_set,
    dropped,
    part_name(dropped) || 's' AS parts,
    n_drop,
    method,
    pattern,
    scores.score,
    scores.score_low AS low,
    scores.score_high AS high,
    scores.chance,
    scores.kept,
    recalls.score AS recall,
    scores.n_items AS n_queries,
    scores.n_cut
FROM retrieval_difference AS scores
INNER JOIN damages USING (model, variant)
INNER JOIN retrieval_difference AS recalls USING (model, variant, scope, name)
WHERE scope = 'task' AND scores.metric = 'ndcg_at_10' AND recalls.metric = 'recall_at_100'
ORDER BY model, retrieval_set, dropped, method, place;

-- Findings: the score that is left, and the change in rank of relevant documents.
SELECT
    model,
    format(
        '{}, {}: nDCG@10 is {:.3f} (dense {:.3f}; 95 % interval of the change {:+.3f} to {:+.3f}). '
        'The first relevant document {} on average.',
        name,
        if(dropped IS NULL, variant, counted_parts(n_drop, dropped) || ' dropped'),
        score,
        dense_score,
        difference_low,
        difference_high,
        CASE
            WHEN round(abs(moved), 1) = 0 THEN 'keeps its rank'
            ELSE format('moves {} by {:.1f} ranks', if(moved > 0, 'down', 'up'), abs(moved))
        END
    ) AS finding
FROM retrieval_difference
INNER JOIN damages USING (model, variant)
INNER JOIN rank_moves USING (model, variant, name)
WHERE
    scope = 'task' AND metric = 'ndcg_at_10'
    AND (n_drop IN (2, 4) OR (method IS NOT NULL AND variant <> 'dense'))
ORDER BY model, name, dropped, method, place;

SELECT
    model,
    format(
        '{}: for {} of {} queries, the query or one of its relevant documents is longer than '
        'embedding/max_length. The rest of such a text was not read.', name, n_cut, n_items
    ) AS finding
FROM retrieval_difference
WHERE variant = 'dense' AND scope = 'task' AND metric = 'ndcg_at_10' AND n_cut > 0
ORDER BY model, name;
