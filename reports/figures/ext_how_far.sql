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

SELECT
    model,
    task_family,
    kind,
    place,
    amount,
    n_items,
    dense_score,
    chance,
    difference,
    difference_low,
    difference_high,
    shown
FROM losses
ORDER BY model ASC, task_family DESC, kind ASC, place ASC;

-- Findings: what is surely lost, what is surely kept, and how much is undecided, per family.
SELECT
    model,
    format(
        '{} ({} items; dense scores {:.2f}, a guess {:.2f}): more than {:.0f} points of 100 are '
        'surely lost with {}. At most that is surely lost with {}. {} of {} variants stay open.',
        if(task_family = 'generative', 'Generation tasks', 'Multiple-choice tasks'),
        any_value(n_items),
        any_value(dense_score),
        any_value(chance),
        100 * $max_loss,
        coalesce(
            string_agg(kind || ': ' || amount, '; ' ORDER BY kind, place) FILTER (shown = 'lost'),
            'no variant'
        ),
        coalesce(
            string_agg(kind || ': ' || amount, '; ' ORDER BY kind, place) FILTER (shown = 'kept'),
            'no variant'
        ),
        count(*) FILTER (shown = 'undecided'),
        count(*)
    ) AS finding
FROM losses
WHERE shown <> 'not tested'
GROUP BY model, task_family
ORDER BY model ASC, task_family DESC;
