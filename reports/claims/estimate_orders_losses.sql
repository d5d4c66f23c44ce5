-- Per variant: Theorem 3's estimate of KL on dense's text, and the share above chance that generation loses.
SELECT
    model,
    if(
        min(suite) OVER (PARTITION BY model) = max(suite) OVER (PARTITION BY model),
        '',
        'suite ' || suite
    ) AS subject,
    variant AS unit,
    size AS measured,
    lost AS beside
FROM predicted_losses
WHERE predictor = 'theorem_3' AND family = 'generative' AND lost IS NOT NULL
ORDER BY ALL
