-- Figure 10. The scores of one multiple-choice task and one generation task against the number of
-- dropped sublayers or blocks, model by model.
-- One row per (model, task, dropped, n_drop), dense as n_drop 0: the score with its 95 % interval, and
-- its share of the dense score.
SELECT
    model,
    task,
    family,
    dropped,
    part_name(dropped) || 's' AS parts,
    metric,
    n_shot,
    n_items,
    n_drop,
    score,
    low,
    high,
    share_of_dense
FROM headline_scores
INNER JOIN drop_sizes USING (model, variant)
WHERE task IN ($non_generative, $generative)
ORDER BY model ASC, family DESC, dropped ASC, n_drop ASC;

-- Findings: how many parts may be dropped, the least influential first, before a tenth of the score is lost.
WITH held AS (
    SELECT
        model,
        dropped,
        n_drop,
        task,
        family,
        min(share_of_dense) OVER (PARTITION BY model, dropped, task ORDER BY n_drop) AS least_share
    FROM headline_scores
    INNER JOIN drop_sizes USING (model, variant)
    WHERE task IN ($non_generative, $generative)
),

reached AS (
    SELECT
        model,
        dropped,
        any_value(task) FILTER (family = 'non_generative') AS choosing,
        any_value(task) FILTER (family = 'generative') AS writing,
        max(n_drop) FILTER (family = 'non_generative' AND least_share >= 0.9) AS while_choosing,
        max(n_drop) FILTER (family = 'generative' AND least_share >= 0.9) AS while_writing
    FROM held
    GROUP BY ALL
    HAVING max(n_drop) > 0
)

SELECT
    model,
    format(
        'Among the numbers tried, {} keeps nine tenths of the dense model''s score with up to {} '
        'dropped, and {} with up to {}. The paper finds that generation falls first.',
        choosing,
        counted_parts(while_choosing, dropped),
        writing,
        while_writing
    ) AS finding
FROM reached
WHERE while_choosing IS NOT NULL AND while_writing IS NOT NULL
ORDER BY model, dropped;
