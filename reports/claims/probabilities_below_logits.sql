-- Per readout and prompt: the share of steps and sublayers at which p deviates more than z.
SELECT
    model,
    if(readout = 'lm_head', 'read by lm_head alone', 'read after the final norm') AS subject,
    prompt AS unit,
    avg((probability > logit)::INT) AS measured
FROM spaces_compared
GROUP BY model, readout, prompt
ORDER BY ALL
