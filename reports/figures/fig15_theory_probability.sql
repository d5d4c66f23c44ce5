-- Figure 15. Every attention sublayer dropped, one at a time, T = 1: 1 - cos of probabilities, measured and estimated.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    nullif(avg(measured), 0) AS measured, -- a logarithmic axis has no zero
    nullif(avg(estimated), 0) AS estimated,
    count(*) AS prompts
FROM attention_estimates
WHERE quantity = 'angular_deviation' AND space = 'probability'
GROUP BY ALL
ORDER BY ALL;

-- Findings: the estimate beside the measurement at every (prompt, step, block).
WITH said AS (
    SELECT
        model,
        place,
        finding,
        agrees
    FROM estimate_findings
    WHERE quantity = 'angular_deviation' AND space = 'probability'

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        finding,
        agrees
    FROM deeper_findings
    WHERE quantity = 'angular_deviation'
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place;
