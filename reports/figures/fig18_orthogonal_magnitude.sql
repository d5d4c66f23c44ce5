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

-- Findings: the blocks at which lm_head enlarges the magnitude ratio.
WITH by_block AS (
    SELECT
        model,
        block,
        median(factor ** 2) AS factor
    FROM lm_head_factors
    GROUP BY ALL
)

SELECT
    model,
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
    ) AS finding
FROM by_block
GROUP BY ALL
ORDER BY model;
