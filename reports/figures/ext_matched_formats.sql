-- Extension. The same items asked in three formats: the share that is answered correctly.
-- One row per (model, variant, asked_as): the mean over the sources of items with its 95 % interval, chance, the
-- share above chance that the variant keeps, and the share of answers that are the same as the dense model's.
CREATE TEMP VIEW asked AS
SELECT
    model,
    variant,
    name AS asked_as,
    dense_score,
    score,
    score_low AS low,
    score_high AS high,
    chance,
    kept,
    difference,
    difference_low,
    difference_high,
    agreement,
    n_items AS items
FROM format_difference
WHERE scope = 'family';

SELECT * FROM asked -- noqa: AM04
ORDER BY model ASC, variant = 'dense' DESC, variant ASC, asked_as ASC;

-- Findings: the change of each format, and the answers that are as before.
SELECT
    model,
    format(
        '{}: {}.',
        variant,
        string_agg(
            format(
                '{} has {:.0f} % correct answers (dense {:.0f} %, a guess {:.0f} %; 95 % interval '
                'of the change {:+.0f} to {:+.0f} points) and gives the dense answer to {:.0f} % '
                'of the items',
                replace(asked_as, '_', ' '),
                100 * score,
                100 * dense_score,
                100 * chance,
                100 * difference_low,
                100 * difference_high,
                100 * agreement
            ), '; ' ORDER BY asked_as
        )
    ) AS finding
FROM asked
WHERE variant <> 'dense'
GROUP BY model, variant
ORDER BY model, variant;
