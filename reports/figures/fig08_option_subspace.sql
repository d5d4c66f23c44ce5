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

-- Findings: whether the model chooses at all, and the probability of the options together.
WITH masses AS (
    SELECT
        model,
        variant,
        prompt,
        sum(p_dense) AS p_dense,
        sum(p_variant) AS p_variant,
        arg_max(option, p_dense) AS chosen_dense
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
        string_agg(DISTINCT chosen_dense, '' ORDER BY chosen_dense) AS chosen
    FROM masses
    GROUP BY ALL
)

SELECT
    model,
    format(
        'The options together have a median probability of {:.2f} in the dense model, {}.{}',
        any_value(p_dense),
        string_agg(format('{:.2f} in {}', p_variant, variant), ', ' ORDER BY p_variant DESC),
        if(
            length(any_value(chosen)) = 1,
            format(
                ' Caution: the dense model chooses {} at each prompt. A choice that survives is '
                'then a habit of the model and not an answer to the question.',
                any_value(chosen)
            ),
            ''
        )
    ) AS finding
FROM choices
GROUP BY model
ORDER BY model;
