-- Figure 6. One attention sublayer dropped, T = 1: measured and estimated (a) 1 - cos(p, q), (b) KL.
-- One row per (model, quantity, step); means over prompts. `block` is a setting.
SELECT
    model,
    block,
    quantity,
    step,
    avg(measured) AS measured,
    avg(estimated) AS estimated,
    count(*) AS prompts
FROM deviation
WHERE
    sublayer = 'attn' AND block = $block
    AND temperature = 1 AND space = 'probability' AND "order" = 2
GROUP BY ALL
ORDER BY ALL;

-- Findings: the estimate beside the measurement at every (prompt, step).
SELECT
    model,
    format(
        '{} at block {}: the median relative error of the estimate is {:.1f} %, its correlation '
        'with the measurement {:.3f} ({:.3f} between logarithms), over {} prompts and steps.',
        if(quantity = 'kl_divergence', 'KL', '1 − cos(p, q)'),
        any_value(block),
        100 * median(abs(estimated / measured - 1)),
        corr(measured, estimated),
        corr(ln(measured), ln(nullif(estimated, 0))),
        count(*)
    ) AS finding,
    median(abs(estimated / measured - 1)) <= 0.25 AS agrees
FROM deviation
WHERE
    sublayer = 'attn' AND block = $block
    AND temperature = 1 AND space = 'probability' AND "order" = 2 AND measured > 0
GROUP BY model, quantity
ORDER BY model, quantity;
