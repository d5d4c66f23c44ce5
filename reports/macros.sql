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
