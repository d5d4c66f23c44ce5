-- Figure 16. Every attention sublayer dropped, one at a time: 1 - cos of hidden states, measured and estimated.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    nullif(avg(measured), 0) AS measured, -- a logarithmic axis has no zero
    nullif(avg(estimated), 0) AS estimated,
    count(*) AS prompts
FROM attention_estimates
WHERE quantity = 'angular_deviation' AND space = 'embedding'
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
    WHERE quantity = 'angular_deviation' AND space = 'embedding'

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        finding,
        agrees
    FROM softmax_findings
    WHERE space = 'embedding'
)

SELECT
    model,
    finding,
    agrees
FROM said
ORDER BY model, place;
