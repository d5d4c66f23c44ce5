-- Similarity with dense at T = 1 after one edited sublayer, and the similarity that rounding alone leaves.
-- One row per (model, variant, prompt, step, block, sublayer, space).
SELECT
    trace.model,
    trace.variant,
    trace.prompt,
    trace.step,
    trace.sublayer,
    trace.block,
    trace.space,
    1 - trace.angular_deviation AS similarity,
    1 - limits.angular_deviation AS noise
FROM sublayer_trace AS trace
LEFT JOIN noise_level AS limits USING (model, readout, block, sublayer, space)
WHERE trace.temperature = 1 OR trace.temperature IS NULL
