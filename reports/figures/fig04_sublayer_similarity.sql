-- Figure 4. Sublayers dropped one at a time: similarity with dense in three spaces, T = 1.
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
GROUP BY ALL
ORDER BY ALL;

-- Findings: the paper's statements about the three spaces, checked at each (prompt, step, block).
WITH traced AS (
    SELECT
        model,
        if(sublayer = 'attn', 'Attention', 'MLP') AS kind,
        block,
        prompt,
        step,
        max(angular_deviation) FILTER (space = 'embedding') AS embedding,
        max(angular_deviation) FILTER (space = 'logit') AS logit,
        max(angular_deviation) FILTER (space = 'probability') AS probability
    FROM sublayer_trace
    WHERE temperature = 1 OR temperature IS NULL
    GROUP BY ALL
),

by_block AS (
    SELECT
        model,
        kind,
        block,
        1 - median(embedding) AS similarity
    FROM traced
    GROUP BY ALL
),

ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY model, kind ORDER BY similarity) AS place,
        block IN (0, max(block) OVER (PARTITION BY model)) AS at_an_end
    FROM by_block
),

levels AS (
    SELECT
        model,
        kind,
        avg((probability > greatest(embedding, logit))::INT) AS least_share,
        median(embedding) AS embedding,
        avg(embedding) AS embedding_mean,
        median(logit) AS logit,
        avg(logit) AS logit_mean,
        median(probability) AS probability,
        avg(probability) AS probability_mean,
        avg(probability) > greatest(avg(embedding), avg(logit)) AS least_on_average
    FROM traced
    GROUP BY model, kind
),

findings AS (
    SELECT
        model,
        kind,
        1 AS place,
        format(
            '{}: probabilities are the least similar of the three spaces at {:.0f} % of all '
            'prompts, steps and blocks. The median (mean) similarity is {:.4f} ({:.3f}) for hidden '
            'states, {:.4f} ({:.3f}) for logits and {:.4f} ({:.3f}) for probabilities.{}',
            kind,
            100 * least_share,
            1 - embedding,
            1 - embedding_mean,
            1 - logit,
            1 - logit_mean,
            1 - probability,
            1 - probability_mean,
            split_verdict(least_share > 0.5, least_on_average, 'The share and the means')
        ) AS finding,
        verdict(least_share > 0.5, least_on_average) AS agrees
    FROM levels

    UNION ALL BY NAME

    SELECT
        model,
        kind,
        2 AS place,
        format(
            '{}: logits are more similar to dense than hidden states are at {:.0f} % of all '
            'prompts, steps and blocks. The paper finds that they are more similar.',
            kind,
            100 * avg((logit < embedding)::INT)
        ) AS finding,
        avg((logit < embedding)::INT) > 0.5 AS agrees
    FROM traced
    GROUP BY model, kind

    UNION ALL BY NAME

    SELECT
        model,
        kind,
        3 AS place,
        format(
            '{}: hidden states are least similar at block {} (median similarity {:.3f}), then at '
            'block {} ({:.3f}). In the paper these are the first and the last block.',
            kind,
            max(block) FILTER (place = 1),
            max(similarity) FILTER (place = 1),
            max(block) FILTER (place = 2),
            max(similarity) FILTER (place = 2)
        ) AS finding,
        bool_and(at_an_end) FILTER (place <= 2) AS agrees
    FROM ranked
    GROUP BY model, kind
)

SELECT
    model,
    finding,
    agrees
FROM findings
ORDER BY model, place, kind;
