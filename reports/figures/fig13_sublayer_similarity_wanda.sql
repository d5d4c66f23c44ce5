-- Figure 13. Sublayers pruned by Wanda one at a time: similarity with dense in three spaces, T = 1.
-- One row per (model, sublayer, block, space): mean and range over prompts and steps, and the
-- similarity that rounding alone leaves.
SELECT similarity_by_block.* EXCLUDE (variant)
FROM similarity_by_block
INNER JOIN compression_run USING (model, variant)
WHERE method = 'wanda'
ORDER BY model, sublayer, block, space;

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
