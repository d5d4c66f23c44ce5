-- Angular deviation in the three spaces side by side, T = 1, one edited sublayer at a time.
-- One row per (model, variant, readout, prompt, step, block, sublayer); subject is the sublayer in words.
SELECT
    model,
    variant,
    readout,
    prompt,
    step,
    block,
    sublayer,
    if(sublayer = 'attn', 'attention sublayers', 'MLP sublayers') AS subject,
    max(angular_deviation) FILTER (space = 'embedding') AS embedding,
    max(angular_deviation) FILTER (space = 'logit') AS logit,
    max(angular_deviation) FILTER (space = 'probability') AS probability
FROM sublayer_trace
WHERE temperature = 1 OR temperature IS NULL
GROUP BY ALL
