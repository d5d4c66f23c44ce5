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

-- Findings: the correlation of the estimate with the measurement over (prompt, step).
SELECT
    model,
    format(
        'At block {} the correlation of estimate and measurement over {} prompts and steps is '
        '{:.3f} for {} ({:.3f} between logarithms).',
        any_value(block),
        count(*),
        corr(measured, estimated),
        if(quantity = 'kl_divergence', 'KL', '1 − cos(p, q)'),
        corr(ln(measured), ln(nullif(estimated, 0)))
    ) AS finding
FROM deviation
WHERE
    sublayer = 'attn' AND block = $block
    AND temperature = 1 AND space = 'probability' AND "order" = 2 AND measured > 0
GROUP BY model, quantity
ORDER BY model, quantity;
