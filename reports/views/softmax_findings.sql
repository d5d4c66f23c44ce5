-- Whether h and z deviate less than probabilities if one attention sublayer is dropped.
-- One row per (model, space); space is embedding or logit.
WITH inputs AS (
    SELECT
        model,
        variant,
        prompt,
        step,
        block,
        space,
        measured AS deviation
    FROM attention_estimates
    WHERE quantity = 'angular_deviation' AND space <> 'probability'
),

paired AS (
    SELECT
        inputs.*,
        measured AS probability
    FROM inputs
    INNER JOIN attention_estimates USING (model, variant, prompt, step, block)
    WHERE quantity = 'angular_deviation' AND attention_estimates.space = 'probability'
),

compared AS (
    SELECT
        model,
        space,
        avg((deviation < probability)::INT) AS less_share,
        median(probability / nullif(deviation, 0)) AS median_factor,
        avg(deviation) AS deviation,
        avg(probability) AS probability
    FROM paired
    GROUP BY ALL
)

SELECT
    model,
    space,
    format(
        '{} deviate less than probabilities at {:.0f} % of all prompts, steps and blocks. The '
        'deviation of probabilities is {:.3g} times as large at the median; the means are {:.3g} '
        'and {:.3g}.{}',
        if(space = 'logit', 'Logits', 'Hidden states'),
        100 * less_share,
        median_factor,
        deviation,
        probability,
        split_verdict(less_share > 0.5, deviation < probability, 'The share and the means')
    ) AS finding,
    verdict(less_share > 0.5, deviation < probability) AS agrees
FROM compared
