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

-- Findings: the order of the three spaces, and the similarity compared with dropped sublayers.
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

findings AS (
    SELECT
        model,
        kind,
        1 AS place,
        format(
            '{}: probabilities are the least similar of the three spaces at {:.0f} % of all '
            'prompts, steps and blocks. The mean similarity is {:.4f} for hidden states, {:.4f} '
            'for logits and {:.3f} for probabilities.{}',
            kind,
            100 * least_share,
            1 - embedding,
            1 - logit,
            1 - probability,
            split_verdict(least_share > 0.5, least_on_average, 'The share and the means')
        ) AS finding,
        verdict(least_share > 0.5, least_on_average) AS agrees
    FROM compared

    UNION ALL BY NAME

    SELECT
        model,
        kind,
        2 AS place,
        format(
            '{}: the mean similarity of hidden states is {:.4f} if the sublayer is pruned by Wanda '
            'and {:.4f} if it is dropped; that of probabilities is {:.3f} and {:.3f}.{}',
            kind,
            1 - embedding,
            1 - dropped_embedding,
            1 - probability,
            1 - dropped_probability,
            if(kind = 'MLP', ' The paper finds that MLPs are more similar under Wanda.', '')
        ) AS finding,
        if(kind = 'MLP', embedding < dropped_embedding, NULL) AS agrees
    FROM compared
    WHERE dropped_embedding IS NOT NULL
)

SELECT
    model,
    finding,
    agrees
FROM findings
ORDER BY model, place, kind;
