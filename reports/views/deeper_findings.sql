-- Whether probabilities shift more in deeper blocks, by KL and by 1 - cos.
-- One row per (model, quantity).
WITH by_depth AS (
    SELECT
        model,
        quantity,
        median(measured) FILTER (3 * block <= last_block) AS early,
        avg(measured) FILTER (3 * block <= last_block) AS early_mean,
        median(measured) FILTER (3 * block >= 2 * last_block) AS late,
        avg(measured) FILTER (3 * block >= 2 * last_block) AS late_mean
    FROM attention_estimates
    WHERE space = 'probability' AND measured > 0
    GROUP BY ALL
)

SELECT
    model,
    quantity,
    format(
        'Median (mean) {}: {:.2g} ({:.2g}) over the first third of the blocks, {:.2g} ({:.2g}) '
        'over the last. The paper finds larger shifts in deeper blocks.{}',
        if(quantity = 'kl_divergence', 'KL in nats', '1 − cos(p, q)'),
        early,
        early_mean,
        late,
        late_mean,
        split_verdict(late > early, late_mean > early_mean, 'Median and mean')
    ) AS finding,
    verdict(late > early, late_mean > early_mean) AS agrees
FROM by_depth
