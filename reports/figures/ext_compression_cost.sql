-- Extension. What compression buys (speed, memory) and costs (similarity), relative to dense.
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

-- Findings: what each method buys at what similarity, how far speeds are noise, the best buys.
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

said AS (
    SELECT
        model,
        1 AS place,
        method AS kind,
        format(
            '{}: similarity of probabilities from {:.3f} ({}) to {:.3f} ({}), for {:.0f} to '
            '{:.0f} % of the weights'' bytes, {:.0f} to {:.0f} % of the key-value cache, {:.2f} to '
            '{:.2f} times the decode speed and {:.2f} to {:.2f} times the prefill speed.',
            replace(method, '_', ' '),
            max(kept),
            arg_max(variant, kept),
            min(kept),
            arg_min(variant, kept),
            max(weights),
            min(weights),
            max(kv_cache),
            min(kv_cache),
            min(decode_speed),
            max(decode_speed),
            min(prefill_speed),
            max(prefill_speed)
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
            'Dense timed against itself decodes at {:.2f} and prefills at {:.2f} times its own '
            'speed: differences of this size are noise.',
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
        format(
            'Of the {} variants with a similarity of at least 0.8, {} decodes fastest ({:.2f} '
            'times dense), {} has the smallest weights ({:.0f} %) and {} the smallest cache '
            '({:.0f} %).',
            count(*),
            arg_max(variant, decode_speed),
            max(decode_speed),
            arg_min(variant, weights),
            min(weights),
            arg_min(variant, kv_cache),
            min(kv_cache)
        ) AS finding
    FROM gains
    WHERE kept >= 0.8 AND method != 'identity'
    GROUP BY model
)

SELECT
    model,
    finding,
    NULL::BOOLEAN AS agrees
FROM said
ORDER BY model, place, kind;
