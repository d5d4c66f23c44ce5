-- Extension. How attention outputs change: shares of Δo by path and by the position of the key.
-- One row per (model, variant, history, along, place, path, keys): the mean share over prompts and
-- key-value heads, and over steps (rows along blocks) or blocks (rows along steps). A share is NULL
-- if Δo is zero.
WITH split AS (
    SELECT
        model,
        variant,
        history,
        prompt,
        block,
        step,
        path,
        keys,
        share
    FROM attention_error
    WHERE history IN ('edited_sublayer', 'teacher_forced') AND share IS NOT NULL
),

by_place AS (
    SELECT
        model,
        variant,
        history,
        'block' AS along,
        block AS place,
        path,
        keys,
        avg(share) AS mean_share,
        count(DISTINCT prompt) AS prompts
    FROM split
    GROUP BY ALL

    UNION ALL BY NAME

    SELECT
        model,
        variant,
        history,
        'step' AS along,
        step AS place,
        path,
        keys,
        avg(share) AS mean_share,
        count(DISTINCT prompt) AS prompts
    FROM split
    GROUP BY ALL
)

SELECT *
FROM by_place
ORDER BY ALL;

-- Findings: the shares of the paths, the share of generated keys over time, and the effect of history.
WITH split AS (
    SELECT
        model,
        variant,
        history,
        if(history = 'teacher_forced', 'whole variant', 'each attention edited alone') AS cause,
        prompt,
        step,
        path,
        keys,
        relative_norm,
        share,
        max(step) OVER (PARTITION BY model) AS last_step,
        max(step) OVER (PARTITION BY model, prompt) AS last_of_prompt
    FROM attention_error
    WHERE history IN ('edited_sublayer', 'teacher_forced') AND share IS NOT NULL
),

-- Each path has two rows, for prompt keys and generated keys. Their shares add up.
paths AS (
    SELECT
        model,
        variant,
        history,
        cause,
        2 * avg(share) FILTER (path = 'value') AS value_share,
        2 * avg(share) FILTER (path = 'weight') AS weight_share,
        2 * avg(share) FILTER (path = 'interaction') AS interaction_share,
        median(relative_norm) FILTER (path = 'value') AS value_norm,
        median(relative_norm) FILTER (path = 'weight') AS weight_norm,
        median(relative_norm) FILTER (path = 'interaction') AS interaction_norm
    FROM split
    GROUP BY ALL
),

-- Only answers that reach the last quarter of the steps, so that both quarters hold the same answers.
quarters AS (
    SELECT
        model,
        variant,
        path,
        keys,
        relative_norm,
        share,
        step >= 1 AND 4 * step <= last_step AS is_early,
        4 * step >= 3 * last_step AS is_late
    FROM split
    WHERE history = 'teacher_forced' AND 4 * last_of_prompt >= 3 * last_step
),

grown AS (
    SELECT
        model,
        variant,
        median(relative_norm) FILTER (is_early AND path = 'value' AND keys = 'prompt')
            AS prompt_early,
        median(relative_norm) FILTER (is_late AND path = 'value' AND keys = 'prompt')
            AS prompt_late,
        median(relative_norm) FILTER (is_early AND path = 'value' AND keys = 'generated')
            AS generated_early,
        median(relative_norm) FILTER (is_late AND path = 'value' AND keys = 'generated')
            AS generated_late
    FROM quarters
    GROUP BY ALL
    HAVING bool_or(is_early) AND bool_or(is_late)
),

findings AS (
    SELECT
        model,
        1 AS place,
        variant || history AS inner_place,
        format(
            '{} ({}): the value path is {:.0f} % of Δo, the weight path {:.0f} % and their '
            'interaction {:.0f} %. Their median sizes relative to o are {:.3f}, {:.3f} and {:.3f}.',
            variant,
            cause,
            100 * value_share,
            100 * weight_share,
            100 * interaction_share,
            value_norm,
            weight_norm,
            interaction_norm
        ) AS finding
    FROM paths

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        variant AS inner_place,
        format(
            '{} (whole variant): from the first to the last quarter of the steps, the median size '
            'of the value path relative to o changes from {:.3f} to {:.3f} for generated keys and '
            'from {:.3f} to {:.3f} for prompt keys. Their sum changes by a factor of {:.2f}.',
            variant,
            generated_early,
            generated_late,
            prompt_early,
            prompt_late,
            (generated_late + prompt_late) / nullif(generated_early + prompt_early, 0)
        ) AS finding
    FROM grown
    WHERE generated_early + prompt_early > 0

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        variant AS inner_place,
        format(
            '{}: in the whole variant, which also has the errors of other layers and earlier '
            'positions, the median value path is {:.1f} times and the median weight path {:.1f} '
            'times as large as when each attention is edited alone.',
            variant,
            median(value_norm) FILTER (history = 'teacher_forced')
            / nullif(median(value_norm) FILTER (history = 'edited_sublayer'), 0),
            median(weight_norm) FILTER (history = 'teacher_forced')
            / nullif(median(weight_norm) FILTER (history = 'edited_sublayer'), 0)
        ) AS finding
    FROM paths
    GROUP BY model, variant
    HAVING count(DISTINCT history) = 2 AND min(least(value_norm, weight_norm)) > 0
)

SELECT
    model,
    finding
FROM findings
ORDER BY model, place, inner_place;
