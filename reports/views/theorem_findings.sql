-- All findings about attention_estimates: errors of the estimates, growth with depth, and how the
-- deviation of h and z compares with that of p.
-- One row per (model, quantity, space, place); place orders the findings about one quantity.
SELECT
    model,
    quantity,
    space,
    place,
    finding,
    agrees
FROM estimate_findings

UNION ALL BY NAME

SELECT
    model,
    quantity,
    'probability' AS space,
    3 AS place,
    finding,
    agrees
FROM deeper_findings

UNION ALL BY NAME

SELECT
    model,
    'angular_deviation' AS quantity,
    space,
    3 AS place,
    finding,
    agrees
FROM softmax_findings
