-- Figure 8. Multiple choice at the first step, T = 1: the likeliest tokens, and the options alone.
-- One row per (model, variant, panel, prompt, token, side), for the variants in top_token.
WITH drawn AS (
    SELECT DISTINCT
        model,
        variant
    FROM top_token
),

likeliest AS (
    SELECT
        model,
        variant,
        prompt,
        token,
        any_value(text) AS written,
        any_value(p_dense) AS p_dense,
        any_value(p_variant) AS p_variant
    FROM top_token
    WHERE rank < 5
    GROUP BY ALL
),

options AS (
    SELECT option_trace.*
    FROM option_trace
    INNER JOIN drawn USING (model, variant)
    WHERE temperature = 1
),

panels AS (
    SELECT
        likeliest.model,
        likeliest.variant,
        'vocabulary' AS panel,
        likeliest.prompt,
        likeliest.token,
        replace(likeliest.written, chr(10), '↵') AS written,
        unnest(['dense', 'variant']) AS side,
        unnest([likeliest.p_dense, likeliest.p_variant]) AS shown,
        options.token IS NOT NULL AS is_option,
        row_number() OVER (
            PARTITION BY likeliest.model, likeliest.variant, likeliest.prompt
            ORDER BY likeliest.p_dense DESC, likeliest.token ASC
        ) AS place
    FROM likeliest
    LEFT JOIN options USING (model, variant, prompt, token)

    UNION ALL BY NAME

    SELECT
        model,
        variant,
        'options' AS panel,
        prompt,
        token,
        option AS written,
        unnest(['dense', 'variant']) AS side,
        unnest([log_likelihood_dense, log_likelihood_variant]) AS shown,
        TRUE AS is_option,
        row_number() OVER (PARTITION BY model, variant, prompt ORDER BY option) AS place
    FROM options
)

SELECT
    *,
    shown = max(shown) OVER (PARTITION BY model, variant, panel, prompt, side) AS is_likeliest
FROM panels
ORDER BY model, variant, panel, prompt, place, side;

-- Findings: whether the choice survives, how options rank, and whether the model chooses at all.
WITH agreement AS (
    SELECT
        model,
        variant,
        count(*) FILTER (scope = 'options') AS prompts,
        count(*) FILTER (scope = 'options' AND argmax_survived) AS kept,
        count(*) FILTER (scope = 'vocabulary' AND argmax_survived) AS kept_whole,
        median(kl_divergence) FILTER (scope = 'options') AS kl,
        median(kl_divergence) FILTER (scope = 'vocabulary') AS kl_whole,
        median(1 - angular_deviation) FILTER (scope = 'options') AS similarity,
        median(1 - angular_deviation) FILTER (scope = 'vocabulary') AS similarity_whole
    FROM option_agreement
    WHERE temperature = 1
    GROUP BY ALL
),

drawn AS (
    SELECT DISTINCT
        model,
        variant
    FROM top_token
),

ahead AS (
    SELECT
        model,
        variant,
        prompt,
        token
    FROM top_token
    WHERE side = 'dense' AND rank < 5
),

tails AS (
    SELECT
        option_trace.model,
        option_trace.variant,
        count(*) AS n_options,
        count(ahead.token) AS on_top,
        avg(option_trace.p_dense) AS p_dense
    FROM option_trace
    INNER JOIN drawn USING (model, variant)
    LEFT JOIN ahead USING (model, variant, prompt, token)
    WHERE option_trace.temperature = 1
    GROUP BY ALL
),

masses AS (
    SELECT
        model,
        variant,
        prompt,
        sum(p_dense) AS p_dense,
        sum(p_variant) AS p_variant,
        arg_max(option, p_dense) AS chosen_dense,
        arg_max(option, p_variant) AS chosen_variant
    FROM option_trace
    WHERE temperature = 1
    GROUP BY ALL
),

choices AS (
    SELECT
        model,
        variant,
        median(p_dense) AS p_dense,
        median(p_variant) AS p_variant,
        string_agg(DISTINCT chosen_dense, '' ORDER BY chosen_dense) AS chosen,
        string_agg(chosen_variant, '' ORDER BY prompt) AS chosen_variant
    FROM masses
    GROUP BY ALL
),

findings AS (
    SELECT
        model,
        1 AS place,
        variant,
        format(
            '{}: the likeliest option stays the same at {} of {} prompts, the likeliest token of '
            'the vocabulary at {}. The median KL is {:.3f} nats among the options and {:.3f} nats '
            'in the vocabulary; the median similarity is {:.3f} and {:.3f}.',
            variant,
            kept,
            prompts,
            kept_whole,
            kl,
            kl_whole,
            similarity,
            similarity_whole
        ) AS finding,
        2 * kept > prompts AND kl < kl_whole AS agrees
    FROM agreement

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        '' AS variant,
        format(
            '{} of {} options are among the dense model''s five likeliest tokens; the mean '
            'probability of an option is {:.3f}. The paper finds most options in the tail of the '
            'distribution.',
            any_value(on_top),
            any_value(n_options),
            any_value(p_dense)
        ) AS finding,
        2 * any_value(on_top) < any_value(n_options) AS agrees
    FROM tails
    GROUP BY ALL

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        '' AS variant,
        format(
            'Caution: the dense model chooses {} at each prompt. A choice that survives is then a '
            'habit of the model and not an answer to the question.',
            any_value(chosen)
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM choices
    GROUP BY ALL
    HAVING length(any_value(chosen)) = 1

    UNION ALL BY NAME

    SELECT
        model,
        4 AS place,
        '' AS variant,
        format(
            'The options together have a median probability of {:.2f} in the dense model, {}.',
            any_value(p_dense),
            string_agg(
                format('{:.2f} in {}', p_variant, variant), ', ' ORDER BY p_variant DESC
            )
        ) AS finding,
        NULL::BOOLEAN AS agrees
    FROM choices
    GROUP BY ALL
)

SELECT
    model,
    finding,
    agrees
FROM findings
ORDER BY model, place, variant;
