-- Figure 8. Multiple choice at the first step, T = 1: the likeliest tokens, and the options alone.
-- One row per (model, variant, panel, prompt, token, side), for the variants in top_token.
WITH options AS (
    SELECT
        model,
        variant,
        'options' AS panel,
        prompt,
        token,
        option AS written,
        log_likelihood_dense AS of_dense,
        log_likelihood_variant AS of_variant,
        TRUE AS is_option
    FROM option_trace
    SEMI JOIN top_token USING (model, variant)
    WHERE temperature = 1
),

panels AS (
    SELECT *
    FROM options

    UNION ALL

    SELECT
        model,
        variant,
        'vocabulary' AS panel,
        prompt,
        token,
        replace(any_value(text), chr(10), '↵') AS written,
        any_value(p_dense) AS of_dense,
        any_value(p_variant) AS of_variant,
        bool_or(coalesce(is_option, FALSE)) AS is_option
    FROM top_token
    LEFT JOIN options USING (model, variant, prompt, token)
    WHERE rank < 5
    GROUP BY model, variant, prompt, token
)

SELECT
    * EXCLUDE (of_dense, of_variant),
    row_number() OVER (tokens ORDER BY if(panel = 'options', 0, -of_dense), written) AS place,
    unnest(['dense', 'variant']) AS side,
    unnest([of_dense, of_variant]) AS shown,
    unnest(
        [of_dense = max(of_dense) OVER tokens, of_variant = max(of_variant) OVER tokens]
    ) AS is_likeliest
FROM panels
WINDOW tokens AS (PARTITION BY model, variant, panel, prompt)
ORDER BY model, variant, panel, prompt, place, side;

-- Findings: whether the model chooses at all, and the probability of the options together.
WITH choices AS (
    SELECT
        model,
        variant,
        median(p_dense) AS p_dense,
        median(p_variant) AS p_variant,
        string_agg(DISTINCT chosen_dense, '' ORDER BY chosen_dense) AS chosen
    FROM option_masses
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
