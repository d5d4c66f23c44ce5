-- Per prompt: the median of Var_r(Δz) over the last third of the blocks, divided by that over the first third.
WITH points AS (
    SELECT
        model,
        prompt,
        block,
        var_escort,
        max(block) OVER (PARTITION BY model) AS last_block
    FROM logit_shift
    WHERE sublayer = 'attn' AND temperature = 1
)

SELECT
    model,
    '' AS subject,
    prompt AS unit,
    median(var_escort) FILTER (3 * block >= 2 * last_block)
    / nullif(median(var_escort) FILTER (3 * block <= last_block), 0) AS measured
FROM points
GROUP BY ALL
ORDER BY ALL
