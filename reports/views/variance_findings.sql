-- Whether the variance of Δz exceeds the magnitude ratio, and at which depth most.
-- One row per (model, space, place); place orders the findings about one space.
WITH by_depth AS (
    SELECT
        model,
        space,
        over_depth(ratio, block, last_block) AS thirds
    FROM variance_ratios
    GROUP BY model, space
)

SELECT
    model,
    space,
    1 AS place,
    format(
        'The variance of Δz exceeds the magnitude ratio of {} at {:.0f} % of all prompts, steps '
        'and blocks. The median quotient is {:.3g}, the mean {:.3g}. The paper finds that the '
        'variance is substantially larger.',
        if(space = 'logit', 'z', 'h'),
        100 * avg((ratio > 1)::INT),
        median(ratio),
        avg(ratio)
    ) AS finding,
    avg((ratio > 1)::INT) > 0.5 AS agrees
FROM variance_ratios
GROUP BY model, space

UNION ALL BY NAME

SELECT
    model,
    space,
    2 AS place,
    depth_sentence(
        'The median (mean) quotient is {:.3g} ({:.3g}) over the first third of the blocks and '
        '{:.3g} ({:.3g}) over the last third. The paper finds that it is largest in the last '
        'layers.{}',
        thirds
    ) AS finding,
    grows(thirds) AS agrees
FROM by_depth
