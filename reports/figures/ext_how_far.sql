-- Extension. How far each kind of compression goes before a family of tasks loses more than max_loss.
-- One row per (model, task_family, kind, place): the loss with its 95 % interval, and what it shows.
CREATE TEMP TABLE losses AS
SELECT
    score_difference.model,
    score_difference.name AS task_family,
    kind,
    place,
    amount,
    named,
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
    END AS shown,
    max(place) FILTER (shown <> 'lost') OVER of_kind AS last_not_lost,
    min(place) FILTER (shown <> 'kept') OVER of_kind AS first_not_kept
FROM score_difference
INNER JOIN compression_amounts USING (model, variant)
WHERE scope = 'family'
WINDOW of_kind AS (PARTITION BY score_difference.model, score_difference.name, kind);

SELECT *
FROM losses
ORDER BY model ASC, task_family DESC, kind ASC, place ASC;

-- Findings: the answer in short: from where on each family surely loses more, and how far it surely does not.
WITH reached AS (
    SELECT
        model,
        task_family,
        kind,
        any_value(n_items) AS n_items,
        any_value(dense_score) AS dense_score,
        any_value(chance) AS chance,
        arg_min(named, place) FILTER (place > coalesce(last_not_lost, 0)) AS lost_from,
        arg_max(named, place) FILTER (place < coalesce(first_not_kept, place + 1)) AS kept_to
    FROM losses
    WHERE shown <> 'not tested'
    GROUP BY ALL
),

listed AS (
    SELECT
        model,
        task_family,
        any_value(n_items) AS n_items,
        any_value(dense_score) AS dense_score,
        any_value(chance) AS chance,
        string_agg(lost_from, ', ' ORDER BY kind) AS lost_from,
        string_agg(kept_to, ', ' ORDER BY kind) AS kept_to
    FROM reached
    GROUP BY ALL
)

SELECT
    model,
    string_agg(
        format(
            'In {} ({} items; dense scores {:.2f}, a guess {:.2f}), {}, and {}.',
            family_name(task_family),
            n_items,
            dense_score,
            chance,
            coalesce(
                format('more than {:.0f} points of 100 are surely lost from ', 100 * $max_loss)
                || lost_from || ' on',
                format('no amount surely loses more than {:.0f} points of 100', 100 * $max_loss)
            ),
            coalesce('surely not up to ' || kept_to, 'no amount is shown to lose less')
        ), ' ' ORDER BY task_family
    ) AS finding
FROM listed
GROUP BY model
ORDER BY model;
