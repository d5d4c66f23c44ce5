-- Extension. How attention outputs move: shares of Δo by path and by where the key stands.
-- One row per (model, variant, history, along, place, path, keys); mean share over prompts, key-value
-- heads and, along blocks, steps or, along steps, blocks. Shares are NULL where Δo is zero.
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

-- Findings: which path carries more, how the generated keys' part grows, what history adds.
WITH split AS (
    SELECT
        model,
        variant,
        history,
        if(history = 'teacher_forced', 'the whole variant', 'each attention edited alone') AS cause,
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

-- A path has two rows, prompt and generated keys, whose shares add up.
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

-- Only answers that reach the last quarter of the steps, so that none drops out between the two.
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
        3 * avg(share) FILTER (is_early AND keys = 'generated') AS share_early,
        3 * avg(share) FILTER (is_late AND keys = 'generated') AS share_late,
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

said AS (
    SELECT
        model,
        1 AS place,
        variant || history AS inner_place,
        format(
            '{}, {}: the value path carries {:.0f} % of Δo, the weight path {:.0f} %, their '
            'interaction {:.0f} %; median sizes beside o are {:.3f}, {:.3f} and {:.3f}. The paper '
            'calls the first two dominant.',
            variant,
            cause,
            100 * value_share,
            100 * weight_share,
            100 * interaction_share,
            value_norm,
            weight_norm,
            interaction_norm
        ) AS finding,
        interaction_norm < least(value_norm, weight_norm) AS agrees
    FROM paths

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        variant AS inner_place,
        format(
            '{}, the whole variant: generated keys carry {:.0f} % of Δo over the first quarter of '
            'the steps and {:.0f} % over the last. The paper expects their part to grow.',
            variant,
            100 * share_early,
            100 * share_late
        ) AS finding,
        share_late > share_early AS agrees
    FROM grown

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        variant AS inner_place,
        format(
            '{}, the whole variant: from the first quarter to the last, the value path''s median '
            'size beside o goes from {:.3f} to {:.3f} over generated keys and from {:.3f} to '
            '{:.3f} over prompt keys; the two together grow by a factor of {:.2f}.',
            variant,
            generated_early,
            generated_late,
            prompt_early,
            prompt_late,
            (generated_late + prompt_late) / nullif(generated_early + prompt_early, 0)
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM grown
    WHERE generated_early + prompt_early > 0

    UNION ALL BY NAME

    SELECT
        model,
        4 AS place,
        variant AS inner_place,
        format(
            '{}: the median value path is {:.1f} times and the weight path {:.1f} times as large '
            'in the whole variant as where each attention is edited alone: the rest comes from '
            'other layers and earlier positions.',
            variant,
            median(value_norm) FILTER (history = 'teacher_forced')
            / nullif(median(value_norm) FILTER (history = 'edited_sublayer'), 0),
            median(weight_norm) FILTER (history = 'teacher_forced')
            / nullif(median(weight_norm) FILTER (history = 'edited_sublayer'), 0)
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM paths
    GROUP BY model, variant
    HAVING count(DISTINCT history) = 2 AND min(least(value_norm, weight_norm)) > 0
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place, inner_place;
