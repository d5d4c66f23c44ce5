-- Extension. What compression gains (speed, memory) and costs (similarity), relative to dense.
-- One row per (model, variant, gain); speeds have a 95 % interval, and none stands for a variant that runs
-- dense's operations.
WITH gains AS (
    SELECT
        model,
        variant,
        method,
        similarity_probability,
        mean_kl_divergence,
        top_token_agreement,
        unnest(
            [
                struct_pack(
                    gain := 'decode_speed',
                    relative := if(same_operations, NULL, decode_speedup),
                    low := decode_speedup_low,
                    high := decode_speedup_high
                ),
                struct_pack(
                    gain := 'prefill_speed',
                    relative := if(same_operations, NULL, prefill_speedup),
                    low := prefill_speedup_low,
                    high := prefill_speedup_high
                ),
                struct_pack(
                    gain := 'weights', relative := bytes / bytes_dense, low := NULL, high := NULL
                ),
                struct_pack(
                    gain := 'kv_cache',
                    relative := kv_cache_bytes_per_token / kv_cache_bytes_per_token_dense,
                    low := NULL,
                    high := NULL
                )
            ]
        ) AS gained
    FROM variant_cost
)

SELECT
    gains.model,
    gains.variant,
    gains.method,
    gains.similarity_probability,
    gains.mean_kl_divergence,
    gains.top_token_agreement,
    gained.gain,
    gained.relative,
    gained.low,
    gained.high
FROM gains
WHERE gained.relative IS NOT NULL
ORDER BY ALL;

-- Findings: which variants are surely faster, which cannot be, and what the similar ones save.
WITH gains AS (
    SELECT
        model,
        variant,
        method,
        same_operations,
        similarity_probability AS kept,
        decode_speedup,
        decode_speedup_low,
        decode_speedup_high,
        bytes / bytes_dense AS weights,
        kv_cache_bytes_per_token / kv_cache_bytes_per_token_dense AS kv_cache
    FROM variant_cost
    WHERE method <> 'identity'
),

findings AS (
    SELECT
        model,
        1 AS place,
        format(
            'Surely faster than dense in decoding: {}.',
            coalesce(
                string_agg(
                    format(
                        '{} ({:.2f} times, {:.2f} to {:.2f})',
                        variant,
                        decode_speedup,
                        decode_speedup_low,
                        decode_speedup_high
                    ),
                    ', '
                    ORDER BY decode_speedup DESC
                ) FILTER (NOT same_operations AND decode_speedup_low > 1),
                'no variant'
            )
        ) AS finding
    FROM gains
    GROUP BY model

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        format(
            'Dense''s operations are run, so that bytes are saved but no time, by {}.',
            string_agg(variant, ', ' ORDER BY variant)
        ) AS finding
    FROM gains
    WHERE same_operations
    GROUP BY model

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        format(
            'Of the variants with a similarity of at least 0.8, {} has the smallest weights ({} '
            'of the bytes) and {} the smallest key-value cache ({}).',
            arg_min(variant, weights),
            percent(min(weights)),
            arg_min(variant, kv_cache),
            percent(min(kv_cache))
        ) AS finding
    FROM gains
    WHERE kept >= 0.8
    GROUP BY model
)

SELECT
    model,
    finding
FROM findings
ORDER BY model, place;
