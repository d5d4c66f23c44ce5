-- Figure 19. Attention sublayers dropped one at a time: three variances of Δz, T = 1.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    nullif(avg(var_uniform), 0) AS var_uniform, -- a logarithmic axis has no zero
    nullif(avg(var_p), 0) AS var_p,
    nullif(avg(var_escort), 0) AS var_escort,
    count(DISTINCT prompt) AS prompts
FROM logit_shift
WHERE sublayer = 'attn' AND (temperature = 1 OR temperature IS NULL)
GROUP BY ALL
ORDER BY ALL;

-- Findings: the size of the variances over each (prompt, step, block), and their growth with depth.
WITH traced AS (
    SELECT
        model,
        prompt,
        step,
        block,
        max(var_uniform) AS var_uniform,
        max(var_p) AS var_p,
        max(var_escort) AS var_escort
    FROM logit_shift
    WHERE sublayer = 'attn' AND (temperature = 1 OR temperature IS NULL)
    GROUP BY ALL
),

with_depth AS (
    SELECT
        *,
        max(block) OVER (PARTITION BY model) AS last_block
    FROM traced
),

by_depth AS (
    SELECT
        model,
        over_depth(var_escort, block, last_block) AS thirds
    FROM with_depth
    GROUP BY model
),

findings AS (
    SELECT
        model,
        1 AS place,
        format(
            'The median variance of Δz is {:.3g} under uniform weights, {:.3g} under p and {:.3g} '
            'under weights ∝ p². The variance under p exceeds the uniform one at {:.0f} % of all '
            'prompts, steps and blocks.',
            median(var_uniform),
            median(var_p),
            median(var_escort),
            100 * avg((var_p > var_uniform)::INT)
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM with_depth
    GROUP BY ALL

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        depth_sentence(
            'Under weights ∝ p² the median (mean) variance is {:.3g} ({:.3g}) over the first third '
            'of the blocks and {:.3g} ({:.3g}) over the last third. The paper finds that it is '
            'largest in the last layers.{}',
            thirds
        ) AS finding,
        grows(thirds) AS agrees
    FROM by_depth
)

SELECT
    model,
    finding,
    agrees
FROM findings
ORDER BY model, place;
