-- Figure 4. Sublayers dropped one at a time: similarity with dense in three spaces, T = 1.
-- One row per (model, sublayer, block, space): mean and range over prompts and steps, the similarity that
-- rounding alone leaves, and the mean that the paper shows for its own model.
WITH published AS (
    SELECT DISTINCT
        model,
        panel AS sublayer,
        cast(x AS INT) AS block,
        line AS space,
        y AS paper
    FROM paper_curves
    CROSS JOIN similarity_by_block
    WHERE figure = 'fig04'
)

SELECT * EXCLUDE (variant)
FROM similarity_by_block
FULL JOIN published USING (model, sublayer, block, space)
ORDER BY model, sublayer, block, space;

-- Findings: the similarity in each space, and the blocks at which hidden states are least similar.
WITH levels AS (
    SELECT
        model,
        subject,
        1 - median(embedding) AS embedding,
        1 - median(logit) AS logit,
        1 - median(probability) AS probability
    FROM spaces_compared
    GROUP BY ALL
),

by_block AS (
    SELECT
        model,
        subject,
        block,
        1 - median(embedding) AS similarity
    FROM spaces_compared
    GROUP BY ALL
),

lowest AS (
    SELECT
        model,
        subject,
        arg_min(block, similarity, 2) AS blocks,
        min(similarity, 2) AS similarities
    FROM by_block
    GROUP BY ALL
    HAVING count(*) >= 2
)

SELECT
    model,
    format(
        'Over all {} the median similarity is {:.4f} for hidden states, {:.4f} for logits and '
        '{:.4f} for probabilities. Hidden states are least similar at block {} ({:.3f}), then at '
        'block {} ({:.3f}).',
        subject,
        embedding,
        logit,
        probability,
        blocks[1],
        similarities[1],
        blocks[2],
        similarities[2]
    ) AS finding
FROM levels
INNER JOIN lowest USING (model, subject)
ORDER BY model ASC, subject DESC;
