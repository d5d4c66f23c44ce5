-- Per variant and prompt: the share of diverged tokens minus the largest share of the other terms.
WITH shares AS (
    SELECT
        model,
        variant,
        prompt,
        term,
        avg(share) AS mean_share
    FROM history_term
    WHERE share IS NOT NULL AND sampling_temperature = 0
    GROUP BY ALL
)

SELECT
    model,
    variant AS subject,
    prompt AS unit,
    max(mean_share) FILTER (term = 'diverged_tokens')
    - max(mean_share) FILTER (term <> 'diverged_tokens') AS measured
FROM shares
GROUP BY ALL
ORDER BY ALL
