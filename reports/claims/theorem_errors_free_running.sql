-- Per prompt: the median over steps of the relative error of Theorem 3, each model reading its own text.
SELECT
    model,
    '' AS subject,
    prompt AS unit,
    median(abs(estimated / measured - 1)) AS measured
FROM decoding_deviation
WHERE
    history = 'free_running' AND sampling_temperature = 0
    AND temperature = 1 AND quantity = 'kl_divergence' AND "order" = 2 AND measured > 0
GROUP BY ALL
ORDER BY ALL
