-- Figure 15. Attention sublayers dropped one at a time: 1 - cos of probabilities, measured and estimated.
-- One row per (model, temperature, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    temperature,
    block,
    step,
    measured,
    estimated,
    prompts
FROM estimates_by_step
WHERE quantity = 'angular_deviation' AND space = 'probability'
ORDER BY ALL;

-- Findings: how the estimate follows the measurement, and where it is far off.
SELECT
    model,
    finding
FROM estimate_findings
WHERE quantity = 'angular_deviation' AND space = 'probability'
ORDER BY model, place;
