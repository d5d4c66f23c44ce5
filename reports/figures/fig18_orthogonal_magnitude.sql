-- Figure 18. Attention sublayers dropped one at a time: |Δ⊥|²/|dense|² of h and z.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    nullif(avg(relative_orthogonal_magnitude ** 2) FILTER (space = 'embedding'), 0) AS embedding,
    nullif(avg(relative_orthogonal_magnitude ** 2) FILTER (space = 'logit'), 0) AS logit,
    count(DISTINCT prompt) AS prompts
FROM sublayer_trace
WHERE sublayer = 'attn' AND space IN ('embedding', 'logit')
GROUP BY ALL
ORDER BY ALL;

-- Findings: the effect of lm_head on the orthogonal part at each (prompt, step, block).
WITH traced AS (
    SELECT
        model,
        prompt,
        step,
        block,
        max(relative_orthogonal_magnitude ** 2) FILTER (space = 'embedding') AS h,
        max(relative_orthogonal_magnitude ** 2) FILTER (space = 'logit') AS z
    FROM sublayer_trace
    WHERE sublayer = 'attn'
    GROUP BY ALL
),

by_block AS (
    SELECT
        model,
        block,
        median(z / nullif(h, 0)) AS factor
    FROM traced
    GROUP BY ALL
),

findings AS (
    SELECT
        model,
        1 AS place,
        format(
            'lm_head reduces the magnitude ratio at {:.0f} % of all prompts, steps and blocks and '
            'multiplies it by {:.2f} at the median. The paper finds that it is substantially '
            'reduced.',
            100 * avg((z < h)::INT),
            median(z / nullif(h, 0))
        ) AS finding,
        avg((z < h)::INT) > 0.5 AS agrees
    FROM traced
    GROUP BY ALL

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        format(
            'The median factor is above 1 at {} of {} blocks{}. It is smallest at block {} '
            '({:.2f}) and largest at block {} ({:.2f}).',
            count(*) FILTER (factor > 1),
            count(*),
            coalesce(
                ' (' || string_agg(block, ', ' ORDER BY block) FILTER (factor > 1) || ')', ''
            ),
            arg_min(block, factor),
            min(factor),
            arg_max(block, factor),
            max(factor)
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM by_block
    GROUP BY ALL
)

SELECT
    model,
    finding,
    agrees
FROM findings
ORDER BY model, place;
