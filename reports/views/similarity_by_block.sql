-- Similarity with dense at T = 1 after one edited sublayer, and the similarity that rounding alone leaves.
-- One row per (model, variant, sublayer, block, space): mean and range over prompts and steps.
SELECT
    trace.model,
    trace.variant,
    trace.sublayer,
    trace.block,
    trace.space,
    avg(1 - trace.angular_deviation) AS mean,
    min(1 - trace.angular_deviation) AS low,
    max(1 - trace.angular_deviation) AS high,
    min(1 - limits.angular_deviation) AS noise
FROM sublayer_trace AS trace
LEFT JOIN noise_level AS limits USING (model, readout, block, sublayer, space)
WHERE trace.temperature = 1 OR trace.temperature IS NULL
GROUP BY ALL
