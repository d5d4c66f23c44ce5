-- Per prompt: the median deviation of p over the last third of the blocks, divided by that over the first third.
SELECT
    model,
    '' AS subject,
    prompt AS unit,
    median(measured) FILTER (3 * block >= 2 * last_block)
    / nullif(median(measured) FILTER (3 * block <= last_block), 0) AS measured
FROM attention_estimates
WHERE quantity = $quantity AND space = 'probability' AND measured > 0
GROUP BY ALL
ORDER BY ALL
