-- Per kind of sublayer and prompt: 1 if hidden states deviate most, by the median over steps, at the first and
-- the last block, else 0.
WITH medians AS (
    SELECT
        model,
        sublayer,
        prompt,
        block,
        median(angular_deviation) AS deviation
    FROM sublayer_trace
    WHERE space = 'embedding'
    GROUP BY ALL
),

ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY model, sublayer, prompt ORDER BY deviation DESC) AS place,
        block IN (0, max(block) OVER (PARTITION BY model)) AS is_end
    FROM medians
)

SELECT
    model,
    if(sublayer = 'attn', 'attention sublayers', 'MLP sublayers') AS subject,
    prompt AS unit,
    bool_and(is_end)::INT AS measured
FROM ranked
WHERE place <= 2
GROUP BY model, sublayer, prompt
ORDER BY ALL
