-- Whether probabilities shift more in deeper blocks, by KL and by 1 - cos.
-- One row per (model, quantity).
WITH by_depth AS (
    SELECT
        model,
        quantity,
        over_depth(measured, block, last_block) AS thirds
    FROM attention_estimates
    WHERE space = 'probability' AND measured > 0
    GROUP BY model, quantity
)

SELECT
    model,
    quantity,
    said_of_depth(
        'Median (mean) ' || if(quantity = 'kl_divergence', 'KL in nats', '1 − cos(p, q)')
        || ': {:.2g} ({:.2g}) over the first third of the blocks, {:.2g} ({:.2g}) over the last. '
        'The paper finds larger shifts in deeper blocks.{}',
        thirds
    ) AS finding,
    grows(thirds) AS agrees
FROM by_depth
