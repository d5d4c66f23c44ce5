-- Per variant and multiple-choice prompt: KL among the options minus KL over the vocabulary, in nats.
SELECT
    model,
    variant AS subject,
    prompt AS unit,
    max(kl_divergence) FILTER (scope = 'options')
    - max(kl_divergence) FILTER (scope = 'vocabulary') AS measured
FROM option_agreement
WHERE temperature = 1
GROUP BY model, variant, prompt
ORDER BY ALL
