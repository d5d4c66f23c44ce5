-- Per quantity, temperature and prompt: the median over steps of the estimate's relative error, at one block.
SELECT
    model,
    if(quantity = 'kl_divergence', 'KL divergence', '1 − cos(p, q)')
    || if($by_temperature, format(', T = {}', temperature), '') AS subject,
    prompt AS unit,
    median(abs(estimated / measured - 1)) AS measured
FROM deviation
WHERE
    sublayer = 'attn' AND block = $block AND space = 'probability' AND "order" = 2
    AND measured > 0 AND (temperature = 1 OR $by_temperature)
GROUP BY model, quantity, temperature, prompt
ORDER BY model, quantity, temperature, prompt
