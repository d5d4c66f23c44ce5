-- Figure 20. Every attention sublayer dropped, T = 1: Var_r(Δz) over the magnitude ratio of h.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    nullif(avg(ratio), 0) AS ratio,
    count(*) AS prompts
FROM variance_ratios
WHERE space = 'embedding'
GROUP BY ALL
ORDER BY ALL;

-- Findings: the variance beside the magnitude ratio at every (prompt, step, block).
SELECT
    model,
    finding,
    agrees
FROM variance_findings
WHERE space = 'embedding'
ORDER BY model, place;
