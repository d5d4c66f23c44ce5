-- Extension. How far each kind of compression goes before a family of tasks loses more than max_loss.
-- One row per (model, task_family, kind, place): the loss with its 95 % interval, and what it shows.
CREATE TEMP TABLE losses AS
WITH compressed AS (
    SELECT
        model,
        variant,
        part_name(dropped) || 's dropped' AS kind,
        n_drop AS place,
        format('{}', n_drop) AS amount
    FROM drop_sizes
    WHERE n_drop > 0

    UNION ALL

    SELECT
        model,
        variant,
        CASE method
            WHEN 'sparsegpt' THEN 'SparseGPT'
            WHEN 'wanda' THEN 'Wanda'
            ELSE method
        END AS kind,
        place,
        pattern AS amount
    FROM zeroed_patterns
    WHERE place > 0
)

SELECT
    score_difference.model,
    score_difference.name AS task_family,
    kind,
    place,
    amount,
    n_items,
    dense_score,
    chance,
    difference,
    difference_low,
    difference_high,
    CASE
        WHEN coalesce(dense_margin_low <= 0, TRUE) THEN 'not tested'
        WHEN n_items < least_items() THEN 'undecided'
        WHEN difference_low >= -$max_loss THEN 'kept'
        WHEN difference_high < -$max_loss THEN 'lost'
        ELSE 'undecided'
    END AS shown
FROM score_difference
INNER JOIN compressed USING (model, variant)
WHERE scope = 'family';

SELECT *
FROM losses
ORDER BY model ASC, task_family DESC, kind ASC, place ASC;

-- Findings: how many variants surely lose more than that, surely do not, or may.
SELECT
    model,
    format(
        '{} ({} items; dense scores {:.2f}, a guess {:.2f}): a loss of more than {:.0f} points of '
        '100 is certain for {} of {} variants, excluded for {} and undecided for {}.',
        if(task_family = 'generative', 'Generation tasks', 'Multiple-choice tasks'),
        any_value(n_items),
        any_value(dense_score),
        any_value(chance),
        100 * $max_loss,
        count(*) FILTER (shown = 'lost'),
        count(*),
        count(*) FILTER (shown = 'kept'),
        count(*) FILTER (shown = 'undecided')
    ) AS finding
FROM losses
WHERE shown <> 'not tested'
GROUP BY model, task_family
ORDER BY model ASC, task_family DESC;
