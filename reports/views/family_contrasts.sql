-- By how much the share of dense's score above chance that multiple-choice tasks keep exceeds the share
-- that generation tasks keep, with the evidence in words. One row per (model, variant, suite).
-- items_to_decide: items at which the interval would no longer hold 0 if the difference stayed.
SELECT
    contrasts.model,
    contrasts.variant,
    contrasts.suite,
    contrasts.n_items,
    contrasts.difference,
    contrasts.p_value,
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
    ceil(
        contrasts.n_items
        * pow(
            (contrasts.difference_high - contrasts.difference_low)
            / nullif(2 * contrasts.difference, 0),
            2
        )
    ) AS items_to_decide
FROM score_difference AS contrasts
INNER JOIN score_difference AS choosing USING (model, variant, suite)
INNER JOIN score_difference AS writing USING (model, variant, suite)
WHERE
    contrasts.scope = 'contrast'
    AND choosing.scope = 'family'
    AND choosing.name = 'non_generative'
    AND writing.scope = 'family'
    AND writing.name = 'generative'
