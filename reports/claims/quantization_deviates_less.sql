-- Per prompt: the largest median KL of a quantized variant minus the smallest of a pruned one, on dense's tokens.
WITH medians AS (
    SELECT
        model,
        prompt,
        method IN ('rtn', 'awq') AS is_quantized,
        median(kl_divergence) AS kl
    FROM decoding_trace
    INNER JOIN compression_run USING (model, variant)
    WHERE
        history = 'teacher_forced' AND sampling_temperature = 0
        AND temperature = 1 AND space = 'probability'
    GROUP BY model, variant, prompt, method
)

SELECT
    model,
    '' AS subject,
    prompt AS unit,
    max(kl) FILTER (is_quantized) - min(kl) FILTER (NOT is_quantized) AS measured
FROM medians
GROUP BY ALL
HAVING measured IS NOT NULL
ORDER BY ALL
