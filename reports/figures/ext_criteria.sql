-- Extension. What dropped sublayers cost, by how they are chosen.
-- One row per (model, dropped, measure, chosen_by, n_drop). A measure is the KL divergence on prompts by
-- which nothing is chosen, or the change of a task's score with its 95 % interval over items.
WITH chosen AS (
    SELECT
        model,
        variant,
        dropped,
        n_drop,
        format(
            '{} on {}, {}',
            coalesce(settings ->> 'criterion', 'cosine'),
            coalesce(settings ->> 'text', 'calibration'),
            coalesce(settings ->> 'search', 'one_shot')
        ) AS chosen_by
    FROM compression_run
    INNER JOIN drop_sizes USING (model, variant)
    WHERE n_drop > 0
),

measured AS (
    SELECT
        model,
        variant,
        'KL divergence on prompts' AS measure,
        mean_kl_divergence AS value, -- noqa: RF04
        steps AS n
    FROM variant_cost

    UNION ALL BY NAME

    SELECT
        model,
        variant,
        name || ': change of score' AS measure,
        difference AS value, -- noqa: RF04
        difference_low AS low,
        difference_high AS high,
        n_items AS n
    FROM score_difference
    WHERE scope = 'task'
)

SELECT
    model,
    dropped,
    part_name(dropped) || 's' AS parts,
    measure,
    chosen_by,
    n_drop,
    value,
    low,
    high,
    n
FROM chosen
INNER JOIN measured USING (model, variant)
ORDER BY model, dropped, measure, chosen_by, n_drop;

-- Findings: the choice with the least KL divergence at each size, and the published one.
SELECT
    model,
    format(
        'Of {} choices of {}, {} has the least KL divergence on prompts, {:.3g} nats; that of the '
        'others is up to {:.3g}.',
        count(*),
        counted_parts(n_drop, dropped),
        arg_min(variant, mean_kl_divergence),
        min(mean_kl_divergence),
        max(mean_kl_divergence)
    ) AS finding
FROM variant_cost
INNER JOIN drop_sizes USING (model, variant)
WHERE n_drop > 0
GROUP BY model, dropped, n_drop
HAVING count(*) > 1
ORDER BY model, dropped, n_drop;
