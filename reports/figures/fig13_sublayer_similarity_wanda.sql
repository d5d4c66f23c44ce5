-- Figure 13. Sublayers pruned by Wanda one at a time: similarity with dense in three spaces, T = 1.
-- One row per (model, sublayer, block, space): mean and range over prompts and steps, and the
-- similarity that rounding alone leaves.
SELECT
    model,
    sublayer,
    block,
    space,
    avg(similarity) AS mean,
    min(similarity) AS low,
    max(similarity) AS high,
    min(noise) AS noise
FROM sublayer_similarity
INNER JOIN compression_run USING (model, variant)
WHERE method = 'wanda'
GROUP BY ALL
ORDER BY ALL;

-- Findings: the similarity if sublayers are pruned by Wanda, and if they are dropped.
WITH levels AS (
    SELECT
        model,
        subject,
        1 - avg(embedding) FILTER (method = 'wanda') AS embedding,
        1 - avg(embedding) FILTER (method = 'sublayer_drop') AS embedding_dropped,
        1 - avg(probability) FILTER (method = 'wanda') AS probability,
        1 - avg(probability) FILTER (method = 'sublayer_drop') AS probability_dropped
    FROM spaces_compared
    INNER JOIN compression_run USING (model, variant)
    GROUP BY model, subject
)

SELECT
    model,
    format(
        'Over all {} the mean similarity of hidden states is {:.4f} if one is pruned by Wanda and '
        '{:.4f} if it is dropped; that of probabilities is {:.3f} and {:.3f}.',
        subject,
        embedding,
        embedding_dropped,
        probability,
        probability_dropped
    ) AS finding
FROM levels
WHERE embedding IS NOT NULL AND embedding_dropped IS NOT NULL
ORDER BY model, subject;
