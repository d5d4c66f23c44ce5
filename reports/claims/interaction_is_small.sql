-- Per variant, cause and prompt: the median size of the interaction divided by that of the smaller path.
WITH sizes AS (
    SELECT
        model,
        variant,
        history,
        prompt,
        median(relative_norm) FILTER (path = 'value') AS value_path,
        median(relative_norm) FILTER (path = 'weight') AS weight_path,
        median(relative_norm) FILTER (path = 'interaction') AS interaction
    FROM attention_error
    WHERE history IN ('edited_sublayer', 'teacher_forced') AND share IS NOT NULL
    GROUP BY ALL
)

SELECT
    model,
    variant || if(history = 'teacher_forced', ', whole', ', each attention alone') AS subject,
    prompt AS unit,
    interaction / nullif(least(value_path, weight_path), 0) AS measured
FROM sizes
ORDER BY ALL
