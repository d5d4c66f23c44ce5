-- Figure 4. Sublayers dropped one at a time: similarity with dense in three spaces, T = 1.
-- One row per (model, sublayer, block, space): mean and range over prompts and steps, the similarity that
-- rounding alone leaves, and the mean that the paper shows for its own model.
WITH levels AS (
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
    GROUP BY ALL
),

published AS (
    SELECT DISTINCT
        model,
        panel AS sublayer,
        cast(x AS INT) AS block,
        line AS space,
        y AS paper
    FROM paper_curves
    CROSS JOIN sublayer_similarity
    WHERE figure = 'fig04'
)

SELECT
    model,
    sublayer,
    block,
    space,
    mean,
    low,
    high,
    noise,
    paper
FROM levels
FULL JOIN published USING (model, sublayer, block, space)
ORDER BY ALL;

-- Findings: the blocks at which hidden states are least similar, and the similarity in each space.
WITH by_block AS (
    SELECT
        model,
        sublayer,
        subject,
        block,
        1 - median(embedding) AS similarity
    FROM spaces_compared
    GROUP BY ALL
),

levels AS (
    SELECT
        model,
        sublayer,
        1 - median(embedding) AS embedding,
        1 - median(logit) AS logit,
        1 - median(probability) AS probability
    FROM spaces_compared
    GROUP BY model, sublayer
),

lowest AS (
    SELECT
        model,
        sublayer,
        subject,
        arg_min(block, similarity, 2) AS blocks,
        min(similarity, 2) AS similarities
    FROM by_block
    GROUP BY ALL
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
INNER JOIN lowest USING (model, sublayer)
WHERE len(blocks) = 2
ORDER BY model, sublayer;
