-- What several queries compute: run before each of them.

-- Mean of a list drawn again from itself, with replacement; equal draws of lists of equal length
-- pick the same places, so that differences between them are paired.
CREATE MACRO resampled_mean(numbers, draw) AS
list_avg(
    list_transform(
        range(len(numbers)),
        LAMBDA place: numbers[cast(1 + hash(draw, place) % len(numbers) AS int)]
    )
);

-- Quantile of the mean over 1000 bootstrap draws: 0.025 and 0.975 bound its 95 % interval.
CREATE MACRO bootstrap_mean(numbers, portion) AS
list_aggregate(
    list_transform(range(1000), LAMBDA draw: resampled_mean(numbers, draw)),
    'quantile_cont', portion
);

-- Exact McNemar test, two-sided: of so many items whose outcome flipped, each way as likely as the
-- other, the probability of a split at least as uneven. 1 where none flipped.
CREATE MACRO mcnemar(to_wrong, to_right) AS
least(
    1,
    2 * list_sum(
        list_transform(
            range(least(to_wrong, to_right) + 1),
            LAMBDA fewer: exp(
                lgamma(to_wrong + to_right + 1) - lgamma(fewer + 1)
                - lgamma(to_wrong + to_right - fewer + 1) - (to_wrong + to_right) * ln(2)
            )
        )
    )
);

-- Share of positions with the same token, of the longer text's.
CREATE MACRO equal_share(dense_ids, variant_ids) AS
len(list_filter(list_zip(dense_ids, variant_ids), LAMBDA pair: pair[1] = pair[2]))
/ greatest(len(dense_ids), len(variant_ids));

-- First step, from 0, at which two texts differ; NULL where they are equal.
CREATE MACRO first_divergence(dense_ids, variant_ids) AS
list_position(
    list_transform(
        list_zip(dense_ids, variant_ids), LAMBDA pair: pair[1] IS DISTINCT FROM pair[2]
    ),
    TRUE
) - 1;
