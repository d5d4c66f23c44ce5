-- What several queries compute: run before each of them.

-- A list drawn again from itself, with replacement; equal draws of lists of equal length pick the
-- same places, so that they stay paired. Hashed twice: the low bits of hash(draw, place) are those of
-- the two xored, so that eight numbers would have but eight draws.
CREATE MACRO resampled(numbers, draw) AS
list_transform(
    range(len(numbers)),
    LAMBDA place: numbers[cast(1 + hash(hash(draw, place)) % len(numbers) AS int)]
);

-- Mean of such a list.
CREATE MACRO resampled_mean(numbers, draw) AS list_avg(resampled(numbers, draw));

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

-- Ranks of a list, equal numbers sharing the mean of theirs, less the mean rank.
CREATE MACRO centred_ranks(numbers) AS
list_transform(
    numbers,
    LAMBDA one:
    len(list_filter(numbers, LAMBDA other: other < one))
    + (len(list_filter(numbers, LAMBDA other: other = one)) - len(numbers)) / 2
);

-- Spearman's rank correlation of two lists; NULL where one of them is constant.
CREATE MACRO rank_correlation(xs, ys) AS
nullif(list_cosine_similarity(centred_ranks(xs), centred_ranks(ys)), cast('NaN' AS double));

-- Quantile of it over 1000 bootstrap draws of pairs.
CREATE MACRO bootstrap_rank_correlation(xs, ys, portion) AS
list_aggregate(
    list_transform(
        range(1000), LAMBDA draw: rank_correlation(resampled(xs, draw), resampled(ys, draw))
    ),
    'quantile_cont', portion
);

-- Several parts of a kind, in words.
CREATE MACRO parts_called(dropped) AS
CASE dropped
    WHEN 'attn' THEN 'attention sublayers'
    WHEN 'mlp' THEN 'MLP sublayers'
    ELSE 'blocks'
END;

-- What tasks that choose and tasks that write keep, in words.
CREATE MACRO kept_by_families(choosing, writing) AS
format(
    'non-generative tasks keep {:.0f} % of dense''s score on average, generative ones {:.0f} %.',
    100 * choosing,
    100 * writing
);

-- What two measures of one thing say alike; NULL where they disagree.
CREATE MACRO verdict(one, other) AS if(one = other, one, NULL);

-- The sentence that says so, after a space; nothing where they agree.
CREATE MACRO split_verdict(one, other, measures) AS
if(one = other, '', format(' {} disagree: no verdict.', measures));

-- Median and mean of a number over the first third of the blocks, and over the last.
CREATE MACRO over_depth(number, block, last_block) AS
struct_pack(
    early := median(number) FILTER (3 * block <= last_block),
    early_mean := avg(number) FILTER (3 * block <= last_block),
    late := median(number) FILTER (3 * block >= 2 * last_block),
    late_mean := avg(number) FILTER (3 * block >= 2 * last_block)
);

-- Whether it grows with depth.
CREATE MACRO grows(thirds) AS
verdict(thirds.late > thirds.early, thirds.late_mean > thirds.early_mean);

-- The sentence that says so: its form has a place for each of the four, and one for no verdict.
CREATE MACRO said_of_depth(form, thirds) AS
format(
    form,
    thirds.early,
    thirds.early_mean,
    thirds.late,
    thirds.late_mean,
    split_verdict(
        thirds.late > thirds.early, thirds.late_mean > thirds.early_mean, 'Median and mean'
    )
);
