-- Figure 21. Every attention sublayer dropped, T = 1: Var_r(Δz) over the magnitude ratio of z.
-- One row per (model, block, step); means over the prompts whose answer reaches the step.
SELECT
    model,
    block,
    step,
    nullif(avg(ratio), 0) AS ratio,
    count(*) AS prompts
FROM variance_ratios
WHERE space = 'logit'
GROUP BY ALL
ORDER BY ALL;

-- Findings: the variance beside the magnitude ratio at every (prompt, step, block).
SELECT
    model,
    finding,
    agrees
FROM variance_findings
WHERE space = 'logit'
ORDER BY model, place;
