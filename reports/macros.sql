-- Macros that several queries use. They are defined before each query runs.

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

-- A family of tasks, in words.
CREATE MACRO family_name(family) AS
CASE family
    WHEN 'non_generative' THEN 'multiple-choice tasks'
    WHEN 'generative' THEN 'generation tasks'
    WHEN 'retrieval' THEN 'retrieval sets'
END;

-- Words as the beginning of a sentence.
CREATE MACRO at_start(words) AS upper(words[1]) || words[2:];

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
