-- Macros that several queries use. They are defined before each query runs.

-- A bootstrap sample of a list, drawn with replacement. The same draw picks the same positions of
-- all lists of equal length, so that pairs stay pairs. The hash is taken twice: the low bits of
-- hash(draw, position) are the xor of the two arguments' low bits, and a list of eight numbers would
-- have only eight different samples.
CREATE MACRO resampled(numbers, draw) AS
list_transform(
    range(len(numbers)),
    LAMBDA position: numbers[cast(1 + hash(hash(draw, position)) % len(numbers) AS int)]
);

-- The mean of such a sample.
CREATE MACRO resampled_mean(numbers, draw) AS list_avg(resampled(numbers, draw));

-- A quantile of the mean over 1000 bootstrap samples: 0.025 and 0.975 bound its 95 % interval.
CREATE MACRO bootstrap_mean(numbers, portion) AS
list_aggregate(
    list_transform(range(1000), LAMBDA draw: resampled_mean(numbers, draw)),
    'quantile_cont', portion
);

-- The p-value of McNemar's exact two-sided test: if an outcome that flips is equally likely to flip
-- either way, the probability of a split at least as uneven as this one. It is 1 if none flipped.
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

-- The number of positions with the same token, divided by the length of the longer text.
CREATE MACRO equal_share(dense_ids, variant_ids) AS
len(list_filter(list_zip(dense_ids, variant_ids), LAMBDA pair: pair[1] = pair[2]))
/ greatest(len(dense_ids), len(variant_ids));

-- The first step, counted from 0, at which two texts differ; NULL if they are equal.
CREATE MACRO first_divergence(dense_ids, variant_ids) AS
list_position(
    list_transform(
        list_zip(dense_ids, variant_ids), LAMBDA pair: pair[1] IS DISTINCT FROM pair[2]
    ),
    TRUE
) - 1;

-- The ranks of a list minus their mean. Equal numbers share the mean of their ranks.
CREATE MACRO centred_ranks(numbers) AS
list_transform(
    numbers,
    LAMBDA number:
    len(list_filter(numbers, LAMBDA other: other < number))
    + (len(list_filter(numbers, LAMBDA other: other = number)) - len(numbers)) / 2
);

-- Spearman's rank correlation of two lists; NULL if one of them is constant.
CREATE MACRO rank_correlation(xs, ys) AS
nullif(list_cosine_similarity(centred_ranks(xs), centred_ranks(ys)), cast('NaN' AS double));

-- A quantile of the rank correlation over 1000 bootstrap samples of pairs.
CREATE MACRO bootstrap_rank_correlation(xs, ys, portion) AS
list_aggregate(
    list_transform(
        range(1000), LAMBDA draw: rank_correlation(resampled(xs, draw), resampled(ys, draw))
    ),
    'quantile_cont', portion
);

-- A kind of part that variants drop, in words: "attention sublayer", "MLP sublayer" or "block".
CREATE MACRO part_name(kind) AS
CASE kind
    WHEN 'attn' THEN 'attention sublayer'
    WHEN 'mlp' THEN 'MLP sublayer'
    WHEN 'block' THEN 'block'
END;

-- A number of dropped parts in words, such as "1 block" or "4 attention sublayers".
CREATE MACRO counted_parts(n_parts, kind) AS
format('{} {}{}', n_parts, part_name(kind), if(n_parts = 1, '', 's'));

-- A percentage with three significant digits, without an exponent where it is large.
CREATE MACRO percent(portion) AS
format(if(abs(portion) >= 9.995, '{:,.0f} %', '{:.3g} %'), 100 * portion);

-- Items of a family of tasks from which a loss is judged at all.
CREATE MACRO least_items() AS 30;

-- The scopes to which a prompt belongs: the mean over all prompts, and itself if it is drawn alone.
CREATE MACRO scopes_of(prompt, drawn) AS
if(prompt = drawn, ['mean over prompts', prompt], ['mean over prompts']);

-- A range in words, such as "0.2 to 0.5", or one number if both ends are written alike.
CREATE MACRO range_in_words(lowest, highest, pattern) AS
format(pattern, lowest)
|| if(
    format(pattern, lowest) = format(pattern, highest), '', ' to ' || format(pattern, highest)
);
