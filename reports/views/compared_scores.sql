-- Each variant compared with dense on the same items, beside what the paper prints for its own model.
-- One row per (model, variant, suite, family, task), and one per family, with task NULL, for the mean over its
-- tasks; n_tasks counts them. Retrieval is nDCG@10 and a family of its own.
WITH compared AS (
    SELECT * FROM score_difference -- noqa: AM04
    UNION ALL BY NAME
    SELECT
        *, -- noqa: AM04
        NULL AS suite
    FROM retrieval_difference
    WHERE metric = 'ndcg_at_10' OR metric IS NULL
)

SELECT
    compared.* EXCLUDE (name, scope), -- noqa: AM04
    if(scope = 'task', name, NULL) AS task, -- noqa: RF04
    paper_model,
    paper_n_tasks,
    paper_dense_score,
    paper_score
FROM compared
LEFT JOIN paper_scores
    ON
        compared.variant = paper_scores.variant
        AND compared.family = paper_scores.family
        AND if(scope = 'task', name, 'average') = paper_scores.task
WHERE scope <> 'contrast' AND compared.variant <> 'dense'
