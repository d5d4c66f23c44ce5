-- Figure 17. Attention sublayers dropped one at a time: 1 - cos of logits, measured and estimated.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    measured,
    estimated,
    prompts
FROM estimates_by_step
WHERE quantity = 'angular_deviation' AND space = 'logit'
ORDER BY ALL;

-- Findings: the estimate compared with the measurement at each (prompt, step, block).
SELECT
    model,
    finding,
    agrees
FROM theorem_findings
WHERE quantity = 'angular_deviation' AND space = 'logit'
ORDER BY model, place;
