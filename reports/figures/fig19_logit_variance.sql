-- Figure 19. Attention sublayers dropped one at a time: three variances of Δz.
-- One row per (model, temperature, block, step); means over the prompts whose answer reaches the step.
WITH uniform AS (
    SELECT
        model,
        block,
        step,
        nullif(avg(var_uniform), 0) AS equal -- a logarithmic axis has no zero
    FROM logit_shift
    WHERE sublayer = 'attn' AND temperature IS NULL
    GROUP BY ALL
)

SELECT
    model,
    temperature,
    block,
    step,
    equal AS var_uniform,
    nullif(avg(var_p), 0) AS var_p,
    nullif(avg(var_escort), 0) AS var_escort,
    count(DISTINCT prompt) AS prompts
FROM logit_shift
INNER JOIN uniform USING (model, block, step)
WHERE sublayer = 'attn' AND temperature IS NOT NULL
GROUP BY ALL
ORDER BY ALL;

-- Findings: the size of the variances over each (prompt, step, block).
SELECT
    model,
    format(
        'The median variance of Δz is {:.3g} under uniform weights, {:.3g} under p and {:.3g} '
        'under weights ∝ p². The variance under p exceeds the uniform one at {:.0f} % of all '
        'prompts, steps and blocks.',
        median(uniform),
        median(p),
        median(escort),
        100 * avg((p > uniform)::INT)
    ) AS finding
FROM (
    SELECT
        model,
        max(var_uniform) AS uniform,
        max(var_p) AS p,
        max(var_escort) AS escort
    FROM logit_shift
    WHERE sublayer = 'attn' AND (temperature = 1 OR temperature IS NULL)
    GROUP BY model, prompt, step, block
)
GROUP BY model
ORDER BY model;
