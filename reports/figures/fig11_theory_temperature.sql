-- Figure 11. One attention sublayer dropped: measured and estimated deviations at each T.
-- One row per (model, scope, quantity, temperature, step): the scope is the prompt in the settings,
-- or the mean over the prompts whose answer reaches the step. `block` is a setting.
WITH traced AS (
    SELECT
        model,
        block,
        prompt,
        step,
        temperature,
        quantity,
        measured,
        estimated
    FROM deviation
    WHERE
        sublayer = 'attn' AND block = $block
        AND space = 'probability' AND "order" = 2
),

scopes AS (
    SELECT
        'mean over prompts' AS scope,
        traced.*
    FROM traced

    UNION ALL BY NAME

    SELECT
        prompt AS scope,
        traced.*
    FROM traced
    WHERE prompt = $prompt
)

SELECT
    model,
    block,
    scope,
    quantity,
    temperature,
    step,
    avg(measured) AS measured,
    avg(estimated) AS estimated,
    count(*) AS prompts
FROM scopes
GROUP BY ALL
ORDER BY model, scope, quantity, temperature, step;

-- Findings: the correlation of the estimate with the measurement at each T.
WITH correlations AS (
    SELECT
        model,
        quantity,
        temperature,
        corr(ln(measured), ln(nullif(estimated, 0))) AS log_correlation
    FROM deviation
    WHERE
        sublayer = 'attn' AND block = $block
        AND space = 'probability' AND "order" = 2 AND measured > 0
    GROUP BY ALL
)

SELECT
    model,
    format(
        'For {} the correlation between the logarithms of estimate and measurement is {}.',
        if(quantity = 'kl_divergence', 'KL', '1 − cos(p, q)'),
        string_agg(
            format('{:.3f} at T = {}', log_correlation, temperature), ', ' ORDER BY temperature
        )
    ) AS finding
FROM correlations
GROUP BY model, quantity
ORDER BY model, quantity;
