-- Extension. What compression gains (speed, memory) and costs (similarity), relative to dense.
-- One row per (model, variant, gain); speeds have a 95 % interval, and none stands for a variant that runs
-- dense's operations.
CREATE TEMP VIEW gains AS
SELECT
    *,
    if(same_operations, NULL, decode_speedup) AS decode_ratio,
    if(same_operations, NULL, prefill_speedup) AS prefill_ratio,
    bytes / bytes_dense AS weights,
    kv_cache_bytes_per_token / kv_cache_bytes_per_token_dense AS kv_cache,
    cast(NULL AS DOUBLE) AS no_end
FROM variant_cost
WHERE method <> 'identity';

WITH by_gain AS (
    UNPIVOT gains
    ON
    (decode_ratio, decode_speedup_low, decode_speedup_high) AS decode_speed,
    (prefill_ratio, prefill_speedup_low, prefill_speedup_high) AS prefill_speed,
    (weights, no_end, no_end) AS weights,
    (kv_cache, no_end, no_end) AS kv_cache
    INTO NAME gain VALUE relative, low, high
)

SELECT
    model,
    variant,
    method,
    similarity_probability,
    mean_kl_divergence,
    top_token_agreement,
    gain,
    relative,
    low,
    high
FROM by_gain
WHERE relative IS NOT NULL
ORDER BY ALL;

-- Findings: which variants are surely faster, which cannot be, and what the similar ones save.
SELECT
    model,
    format(
        'Surely faster than dense in decoding: {}.{}',
        coalesce(
            string_agg(
                format(
                    '{} ({:.2f} times, {:.2f} to {:.2f})',
                    variant,
                    decode_ratio,
                    decode_speedup_low,
                    decode_speedup_high
                ),
                ', '
                ORDER BY decode_ratio DESC
            ) FILTER (NOT same_operations AND decode_speedup_low > 1),
            'no variant'
        ),
        coalesce(
            ' Bytes, but no time, are saved by ' || string_agg(variant, ', ' ORDER BY variant)
            FILTER (same_operations) || ', since dense''s operations are run.',
            ''
        )
    ) AS finding
FROM gains
GROUP BY model
ORDER BY model;

SELECT
    model,
    format(
        'Of the variants with a similarity of at least 0.8, {} has the smallest weights ({} '
        'of the bytes) and {} the smallest key-value cache ({}).',
        arg_min(variant, weights),
        percent(min(weights)),
        arg_min(variant, kv_cache),
        percent(min(kv_cache))
    ) AS finding
FROM gains
WHERE similarity_probability >= 0.8
GROUP BY model
ORDER BY model;
