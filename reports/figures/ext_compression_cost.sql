-- Extension. What compression gains (speed, memory) and costs (similarity), relative to dense.
-- One row per (model, variant, gain).
WITH gains AS (
    SELECT
        model,
        variant,
        method,
        similarity_probability,
        mean_kl_divergence,
        top_token_agreement,
        decode_tokens_per_second / decode_tokens_per_second_dense AS decode_speed,
        prefill_tokens_per_second / prefill_tokens_per_second_dense AS prefill_speed,
        bytes / bytes_dense AS weights,
        kv_cache_bytes_per_token / kv_cache_bytes_per_token_dense AS kv_cache
    FROM variant_cost
)

UNPIVOT gains
ON decode_speed, prefill_speed, weights, kv_cache
INTO NAME gain VALUE relative
ORDER BY ALL;

-- Findings: the gains of each method and its similarity, the noise of speeds, and the best variants.
WITH gains AS (
    SELECT
        model,
        variant,
        method,
        similarity_probability AS kept,
        decode_tokens_per_second / decode_tokens_per_second_dense AS decode_speed,
        prefill_tokens_per_second / prefill_tokens_per_second_dense AS prefill_speed,
        100.0 * bytes / bytes_dense AS weights,
        100.0 * kv_cache_bytes_per_token / kv_cache_bytes_per_token_dense AS kv_cache
    FROM variant_cost
),

findings AS (
    SELECT
        model,
        1 AS place,
        method AS kind,
        format(
            '{}: the similarity of probabilities with dense is {} ({}). Relative to dense, the '
            'weights take {} % of the bytes and the key-value cache {} %; decoding is {} times and '
            'prefill {} times as fast.',
            replace(method, '_', ' '),
            range_of('{:.3f}', min(kept), max(kept)),
            if(
                count(*) = 1,
                any_value(variant),
                format('lowest {}, highest {}', arg_min(variant, kept), arg_max(variant, kept))
            ),
            range_of('{:.0f}', min(weights), max(weights)),
            range_of('{:.0f}', min(kv_cache), max(kv_cache)),
            range_of('{:.2f}', min(decode_speed), max(decode_speed)),
            range_of('{:.2f}', min(prefill_speed), max(prefill_speed))
        ) AS finding
    FROM gains
    WHERE method != 'identity'
    GROUP BY model, method

    UNION ALL BY NAME

    SELECT
        model,
        2 AS place,
        '' AS kind,
        format(
            'The dense model, timed against itself, is {:.2f} times as fast in decoding and {:.2f} '
            'times in prefill. Differences of this size are noise.',
            max(decode_speed),
            max(prefill_speed)
        ) AS finding
    FROM gains
    WHERE method = 'identity'
    GROUP BY model

    UNION ALL BY NAME

    SELECT
        model,
        3 AS place,
        '' AS kind,
        if(
            count(*) = 1,
            format(
                'Only {} has a similarity of at least 0.8. Relative to dense it decodes {:.2f} '
                'times as fast, with {:.0f} % of the bytes of weights and {:.0f} % of the '
                'key-value cache.',
                any_value(variant),
                max(decode_speed),
                min(weights),
                min(kv_cache)
            ),
            format(
                'Of the {} variants with a similarity of at least 0.8, {} decodes fastest ({:.2f} '
                'times as fast as dense), {} has the smallest weights ({:.0f} % of the bytes) and '
                '{} the smallest key-value cache ({:.0f} %).',
                count(*),
                arg_max(variant, decode_speed),
                max(decode_speed),
                arg_min(variant, weights),
                min(weights),
                arg_min(variant, kv_cache),
                min(kv_cache)
            )
        ) AS finding
    FROM gains
    WHERE kept >= 0.8 AND method != 'identity'
    GROUP BY model
)

SELECT
    model,
    finding
FROM findings
ORDER BY model, place, kind;
