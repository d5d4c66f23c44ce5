-- Per variant and multiple-choice prompt: 1 if the likeliest option stays the same, else 0.
SELECT
    model,
    variant AS subject,
    prompt AS unit,
    argmax_survived::INT AS measured
FROM option_agreement
WHERE temperature = 1 AND scope = 'options'
ORDER BY ALL
