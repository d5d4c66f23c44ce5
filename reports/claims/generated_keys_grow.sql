-- Per variant and prompt whose answer reaches the last quarter of the steps: the share of Δo from generated keys
-- over the last quarter minus that over the first.
WITH split AS (
    SELECT
        model,
        variant,
        prompt,
        keys,
        share,
        step,
        max(step) OVER (PARTITION BY model) AS last_step
    FROM attention_error
    WHERE history = 'teacher_forced' AND share IS NOT NULL
)

SELECT
    model,
    variant AS subject,
    prompt AS unit,
    3 * avg(share) FILTER (keys = 'generated' AND 4 * step >= 3 * last_step)
    - 3 * avg(share) FILTER (keys = 'generated' AND step >= 1 AND 4 * step <= last_step) AS measured
FROM split
GROUP BY ALL
HAVING measured IS NOT NULL
ORDER BY ALL
