-- Figure 13. One sublayer pruned by Wanda at a time; similarity with dense in three spaces, T = 1.
-- One row per (model, sublayer, block, space); mean and range over prompts and steps, and
-- the similarity that rounding alone leaves.
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

-- Findings: the same hierarchy of spaces as under dropping, and how much less is lost.
WITH traced AS (
    SELECT
        trace.model,
        run.method,
        if(trace.sublayer = 'attn', 'Attention', 'MLP') AS kind,
        trace.block,
        trace.prompt,
        trace.step,
        max(trace.angular_deviation) FILTER (trace.space = 'embedding') AS embedding,
        max(trace.angular_deviation) FILTER (trace.space = 'logit') AS logit,
        max(trace.angular_deviation) FILTER (trace.space = 'probability') AS probability
    FROM sublayer_trace AS trace
    INNER JOIN compression_run AS run USING (model, variant)
    WHERE trace.temperature = 1 OR trace.temperature IS NULL
    GROUP BY ALL
),

levels AS (
    SELECT
        model,
        method,
        kind,
        avg((probability > greatest(embedding, logit))::INT) AS least_share,
        avg(embedding) AS embedding,
        avg(logit) AS logit,
        avg(probability) AS probability,
        avg(probability) > greatest(avg(embedding), avg(logit)) AS least_on_average
    FROM traced
    GROUP BY model, method, kind
),

compared AS (
    SELECT
        wanda.*,
        dropped.embedding AS dropped_embedding,
        dropped.probability AS dropped_probability
    FROM levels AS wanda
    LEFT JOIN levels AS dropped
        ON
            wanda.model = dropped.model
            AND wanda.kind = dropped.kind
            AND dropped.method = 'sublayer_drop'
    WHERE wanda.method = 'wanda'
),

said AS (
    SELECT
        model,
        kind,
        1 AS place,
        format(
            '{}: probabilities are the least similar of the three at {:.0f} % of all prompts, '
            'steps and blocks. Mean similarity: {:.4f} in embeddings, {:.4f} in logits, {:.3f} in '
            'probabilities.{}',
            kind,
            100 * least_share,
            1 - embedding,
            1 - logit,
            1 - probability,
            split_verdict(least_share > 0.5, least_on_average, 'Share and means')
        ) AS finding,
        verdict(least_share > 0.5, least_on_average) AS agrees
    FROM compared

    UNION ALL BY NAME

    SELECT
        model,
        kind,
        2 AS place,
        format(
            '{}: pruned by Wanda rather than dropped, mean similarity rises from {:.4f} to {:.4f} '
            'in embeddings and from {:.3f} to {:.3f} in probabilities.{}',
            kind,
            1 - dropped_embedding,
            1 - embedding,
            1 - dropped_probability,
            1 - probability,
            if(kind = 'MLP', ' The paper finds MLPs more similar under Wanda.', '')
        ) AS finding,
        if(kind = 'MLP', embedding < dropped_embedding, NULL) AS agrees
    FROM compared
    WHERE dropped_embedding IS NOT NULL
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place, kind;
