-- Extension. What scores do not show: items whose outcome flips, and answers that change.
-- One row per (model, family, task, variant), including dense. Numbers are shares of items unless a
-- caption says otherwise.
CREATE TEMP VIEW compared AS
SELECT
    model,
    suite,
    family,
    task,
    variant,
    metric,
    n_shot,
    n_items,
    dense_score,
    score,
    chance,
    -difference AS score_lost,
    to_wrong / n_items AS to_wrong,
    to_right / n_items AS to_right,
    (to_wrong + to_right) / n_items AS flipped,
    1 - agreement AS answers_changed,
    tokens_changed,
    parted,
    repeated,
    looping,
    distinct_2,
    stopped
FROM score_difference
INNER JOIN answer_wording USING (model, variant, suite)
WHERE scope = 'task' AND name = task;

SELECT * FROM compared -- noqa: AM04
ORDER BY model ASC, family DESC, task ASC, variant = 'dense' DESC, variant ASC;

-- Findings: generation tasks on which the dense score is at most 10 %, so that it can hardly fall.
SELECT
    model,
    format(
        '{}: on tasks that the dense model hardly solves ({}), the mean score is {:.1f} % (dense '
        '{:.1f} %) and {:.1f} % of outcomes flip. {:.0f} % of answers change; {:.0f} % of tokens '
        'differ from the dense model''s, and {:.0f} % of 4-grams are repetitions (dense {:.0f} %).',
        compared.variant,
        string_agg(task, ', ' ORDER BY task),
        100 * avg(compared.score),
        100 * avg(compared.dense_score),
        100 * avg(compared.flipped),
        100 * avg(compared.answers_changed),
        100 * avg(compared.tokens_changed),
        100 * avg(compared.repeated),
        100 * avg(dense.repeated)
    ) AS finding
FROM compared
INNER JOIN compared AS dense USING (model, suite, family, task)
WHERE
    family = 'generative' AND compared.dense_score <= 0.1
    AND compared.variant <> 'dense' AND dense.variant = 'dense'
GROUP BY model, compared.variant
ORDER BY model, compared.variant;

-- Findings: the change of the mean score and the flips behind it, by family.
SELECT
    model,
    format(
        '{}, {}: the mean score changes by {:+.1f} points; {:.1f} % of items flip to wrong '
        'and {:.1f} % to right. {:.0f} % of answers differ from the dense model''s.',
        variant,
        family_name(family),
        0 - 100 * avg(score_lost), -- zero without a minus sign
        100 * avg(to_wrong),
        100 * avg(to_right),
        100 * avg(answers_changed)
    ) AS finding
FROM compared
WHERE variant <> 'dense'
GROUP BY model, variant, family
ORDER BY model ASC, variant ASC, family DESC;
