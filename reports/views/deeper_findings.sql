-- Whether probabilities shift more if a deeper block is edited, by KL and by 1 - cos.
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
    depth_sentence(
        'The median (mean) ' || if(quantity = 'kl_divergence', 'KL in nats', '1 − cos(p, q)')
        || ' is {:.2g} ({:.2g}) over the first third of the blocks and {:.2g} ({:.2g}) over the '
        'last third. The paper finds larger shifts in deeper blocks.{}',
        thirds
    ) AS finding,
    grows(thirds) AS agrees
FROM by_depth
