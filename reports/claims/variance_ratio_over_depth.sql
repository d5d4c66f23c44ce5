-- Per prompt: the median quotient over the last third of the blocks, divided by that over the first third.
SELECT
    model,
    '' AS subject,
    prompt AS unit,
    median(ratio) FILTER (3 * block >= 2 * last_block)
    / nullif(median(ratio) FILTER (3 * block <= last_block), 0) AS measured
FROM variance_ratios
WHERE space = $space AND temperature = 1
GROUP BY ALL
ORDER BY ALL
