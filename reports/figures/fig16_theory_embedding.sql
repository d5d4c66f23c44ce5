-- Figure 16. Attention sublayers dropped one at a time: 1 - cos of hidden states, measured and estimated.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    measured,
    estimated,
    prompts
FROM estimates_by_step
WHERE quantity = 'angular_deviation' AND space = 'embedding'
ORDER BY ALL;

-- Findings: how the estimate follows the measurement, and where it is far off.
SELECT
    model,
    finding
FROM estimate_findings
WHERE quantity = 'angular_deviation' AND space = 'embedding'
ORDER BY model, place;
