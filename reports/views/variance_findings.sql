-- Whether the variance exceeds the magnitude ratio, and where most.
-- One row per (model, space, place); place orders what is said of one space.
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
        'and blocks; the median quotient is {:.3g}, the mean {:.3g}. The paper finds the variance '
        'substantially larger.',
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
    said_of_depth(
        'The median (mean) quotient is {:.3g} ({:.3g}) over the first third of the blocks, {:.3g} '
        '({:.3g}) over the last. The paper finds it largest in the last layers.{}',
        thirds
    ) AS finding,
    grows(thirds) AS agrees
FROM by_depth
