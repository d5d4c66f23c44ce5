-- Extension. How attention outputs change: shares of Δo by path and by the position of the key.
-- One row per (model, variant, history, along, place, path, keys): the mean share over prompts and
-- key-value heads, and over steps (rows along blocks) or blocks (rows along steps). A share is NULL
-- if Δo is zero.
SELECT
    model,
    variant,
    history,
    if(step IS NULL, 'block', 'step') AS along,
    coalesce(block, step) AS place,
    path,
    keys,
    avg(share) AS mean_share,
    count(DISTINCT prompt) AS prompts
FROM attention_error
WHERE history IN ('edited_sublayer', 'teacher_forced') AND share IS NOT NULL
GROUP BY
    GROUPING SETS (
        (model, variant, history, path, keys, block),
        (model, variant, history, path, keys, step)
    )
ORDER BY model, variant, history, along, place, path, keys;

-- Findings: the shares of the paths and the effect of history. Each path has two rows, for prompt keys and
-- generated keys, whose shares add up.
CREATE TEMP TABLE paths AS
SELECT
    model,
    variant,
    200 * avg(share) FILTER (path = 'value' AND history = 'teacher_forced') AS value_share,
    200 * avg(share) FILTER (path = 'weight' AND history = 'teacher_forced') AS weight_share,
    median(relative_norm) FILTER (path = 'value' AND history = 'teacher_forced')
    / nullif(median(relative_norm) FILTER (path = 'value' AND history = 'edited_sublayer'), 0)
        AS value_growth,
    median(relative_norm) FILTER (path = 'weight' AND history = 'teacher_forced')
    / nullif(median(relative_norm) FILTER (path = 'weight' AND history = 'edited_sublayer'), 0)
        AS weight_growth
FROM attention_error
WHERE history IN ('edited_sublayer', 'teacher_forced') AND share IS NOT NULL
GROUP BY ALL;

SELECT
    model,
    format(
        'In whole variants the value path is {} % of Δo and the weight path {} %; the rest is '
        'their interaction.',
        range_in_words(min(value_share), max(value_share), '{:.0f}'),
        range_in_words(min(weight_share), max(weight_share), '{:.0f}')
    ) AS finding
FROM paths
WHERE value_share IS NOT NULL
GROUP BY model
ORDER BY model;

SELECT
    model,
    format(
        'Whole variants also carry the errors of other layers and earlier positions: their value '
        'path is {} times and their weight path {} times as large as if each attention is edited '
        'alone.',
        range_in_words(min(value_growth), max(value_growth), '{:.1f}'),
        range_in_words(min(weight_growth), max(weight_growth), '{:.1f}')
    ) AS finding
FROM paths
WHERE value_growth IS NOT NULL AND weight_growth IS NOT NULL
GROUP BY model
ORDER BY model;
