-- Per space and prompt: the median deviation of later steps minus that of step 0, each model reading its own text.
SELECT
    model,
    CASE space
        WHEN 'embedding' THEN 'hidden states'
        WHEN 'logit' THEN 'logits'
        ELSE 'probabilities'
    END AS subject,
    prompt AS unit,
    median(angular_deviation) FILTER (step > 0)
    - any_value(angular_deviation) FILTER (step = 0) AS measured
FROM decoding_trace
WHERE
    history = 'free_running' AND sampling_temperature = 0
    AND (temperature = 1 OR temperature IS NULL)
GROUP BY model, space, prompt
ORDER BY ALL
