-- Per multiple-choice prompt: the share of options that are not among the dense model's five likeliest tokens.
WITH ahead AS (
    SELECT DISTINCT
        model,
        prompt,
        token
    FROM top_token
    WHERE side = 'dense' AND rank < 5
),

options AS (
    SELECT DISTINCT
        model,
        prompt,
        token
    FROM option_trace
)

SELECT
    options.model,
    '' AS subject,
    options.prompt AS unit,
    avg((ahead.token IS NULL)::INT) AS measured
FROM options
LEFT JOIN ahead USING (model, prompt, token)
GROUP BY ALL
ORDER BY ALL
