-- Extension. What each variant saves against what it loses, by family of tasks.
-- One row per (model, task_family, gain, variant): the share of dense that is saved, the lost score with its
-- 95 % interval over items, and whether any other variant saves as much and loses less.
CREATE TEMP TABLE traded AS
WITH gains AS (
    SELECT
        model,
        variant,
        method,
        unnest(['weights', 'kv_cache', 'decode_time']) AS gain,
        unnest([
            1 - bytes / bytes_dense,
            1 - kv_cache_bytes_per_token / kv_cache_bytes_per_token_dense,
            if(same_operations, NULL, 1 - 1 / decode_speedup)
        ]) AS saved
    FROM variant_cost
),

points AS (
    SELECT
        gains.model,
        name AS task_family,
        gain,
        gains.variant,
        method,
        n_items,
        coalesce(dense_margin_low > 0, FALSE) AS is_tested,
        saved,
        -difference AS lost,
        -difference_high AS lost_low,
        -difference_low AS lost_high
    FROM score_difference
    INNER JOIN gains USING (model, variant)
    WHERE scope = 'family' AND saved IS NOT NULL
)

SELECT
    points.*,
    NOT EXISTS (
        FROM points AS other
        WHERE
            other.model = points.model AND other.task_family = points.task_family
            AND other.gain = points.gain
            AND other.saved >= points.saved AND other.lost <= points.lost
            AND (other.saved > points.saved OR other.lost < points.lost)
    ) AS is_efficient
FROM points;

SELECT *
FROM traded
ORDER BY model ASC, task_family DESC, gain ASC, saved ASC, variant ASC;

-- Findings: the efficient variants by bytes of weights, for each family that is tested.
WITH efficient AS (
    SELECT
        model,
        task_family,
        string_agg(
            format('{} ({:.0f} %, {:.1f})', variant, 100 * saved, 100 * lost), ', '
            ORDER BY saved DESC
        ) AS variants
    FROM traded
    WHERE gain = 'weights' AND is_efficient AND is_tested
    GROUP BY model, task_family
)

SELECT
    model,
    'No other variant saves more bytes of weights for a smaller loss than these (bytes saved, '
    || 'points of 100 lost): '
    || string_agg(
        format(
            'in {} tasks {}',
            if(task_family = 'generative', 'generation', 'multiple-choice'),
            variants
        ),
        '; '
        ORDER BY task_family DESC
    ) || '.' AS finding
FROM efficient
GROUP BY model
ORDER BY model;
