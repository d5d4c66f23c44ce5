-- By how much the share of dense's score above chance that multiple-choice tasks keep exceeds the share
-- that generation tasks keep, in words, with the evidence. One row per (model, variant, suite).
-- supported is NULL without a verdict; n_tests corrects it for the number of verdicts of a figure.
SELECT
    contrasts.model,
    contrasts.variant,
    contrasts.suite,
    contrasts.n_items,
    contrasts.difference,
    contrasts.p_value,
    choosing.n_items AS choosing_items,
    writing.n_items AS writing_items,
    if(
        contrasts.difference IS NULL,
        format(
            'Not tested: dense itself may be guessing, as far as {} multiple-choice and {} '
            'generation items tell.',
            choosing.n_items,
            writing.n_items
        ),
        format(
            'Of the dense model''s score above chance, multiple-choice tasks keep {:.0f} % '
            '(95 % interval {:.0f} to {:.0f}, {} items) and generation tasks {:.0f} % '
            '({:.0f} to {:.0f}, {} items): {:.0f} points apart ({:.0f} to {:.0f}).',
            100 * choosing.kept,
            100 * choosing.kept_low,
            100 * choosing.kept_high,
            choosing.n_items,
            100 * writing.kept,
            100 * writing.kept_low,
            100 * writing.kept_high,
            writing.n_items,
            100 * contrasts.difference,
            100 * contrasts.difference_low,
            100 * contrasts.difference_high
        )
    ) AS evidence,
    (contrasts.difference_high - contrasts.difference_low) / 2 AS half_width,
    ceil(contrasts.n_items * pow(half_width / nullif(contrasts.difference, 0), 2))
        AS items_to_decide
FROM score_difference AS contrasts
INNER JOIN score_difference AS choosing
    ON
        contrasts.model = choosing.model
        AND contrasts.variant = choosing.variant
        AND contrasts.suite = choosing.suite
        AND choosing.scope = 'family'
        AND choosing.name = 'non_generative'
INNER JOIN score_difference AS writing
    ON
        contrasts.model = writing.model
        AND contrasts.variant = writing.variant
        AND contrasts.suite = writing.suite
        AND writing.scope = 'family'
        AND writing.name = 'generative'
WHERE contrasts.scope = 'contrast'
