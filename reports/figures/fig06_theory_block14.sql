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

-- Findings: the estimate compared with the measurement at each (prompt, step).
SELECT
    model,
    format(
        'At block {} the estimate of {} has a median relative error of {:.1f} % over {} prompts '
        'and steps. Its correlation with the measurement is {:.3f} ({:.3f} between logarithms).',
        any_value(block),
        if(quantity = 'kl_divergence', 'KL', '1 − cos(p, q)'),
        100 * median(abs(estimated / measured - 1)),
        count(*),
        corr(measured, estimated),
        corr(ln(measured), ln(nullif(estimated, 0)))
    ) AS finding,
    median(abs(estimated / measured - 1)) <= 0.25 AS agrees
FROM deviation
WHERE
    sublayer = 'attn' AND block = $block
    AND temperature = 1 AND space = 'probability' AND "order" = 2 AND measured > 0
GROUP BY model, quantity
ORDER BY model, quantity;
