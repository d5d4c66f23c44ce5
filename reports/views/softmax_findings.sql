-- Whether h and z turn less than probabilities do, where one attention sublayer is dropped.
-- One row per (model, space); space is embedding or logit.
WITH before AS (
    SELECT
        model,
        variant,
        prompt,
        step,
        block,
        space,
        measured AS here
    FROM attention_estimates
    WHERE quantity = 'angular_deviation' AND space <> 'probability'
),

beside AS (
    SELECT
        before.*,
        measured AS probability
    FROM before
    INNER JOIN attention_estimates USING (model, variant, prompt, step, block)
    WHERE quantity = 'angular_deviation' AND attention_estimates.space = 'probability'
),

compared AS (
    SELECT
        model,
        space,
        avg((here < probability)::INT) AS less_share,
        median(probability / nullif(here, 0)) AS median_factor,
        avg(here) AS here,
        avg(probability) AS probability
    FROM beside
    GROUP BY ALL
)

SELECT
    model,
    space,
    format(
        '{} deviate less than probabilities at {:.0f} % of all prompts, steps and blocks (median '
        'factor {:.3g}; on average {:.3g} against {:.3g}).{}',
        if(space = 'logit', 'Logits', 'Embeddings'),
        100 * less_share,
        median_factor,
        here,
        probability,
        split_verdict(less_share > 0.5, here < probability, 'Share and means')
    ) AS finding,
    verdict(less_share > 0.5, here < probability) AS agrees
FROM compared
