-- Per variant: Theorem 3's estimate of KL on dense's text, and the share of dense's score that generation loses.
SELECT
    model,
    '' AS subject,
    variant AS unit,
    size AS measured,
    lost AS beside
FROM predicted_losses
WHERE predictor = 'theorem_3' AND family = 'generative' AND lost IS NOT NULL
ORDER BY ALL
