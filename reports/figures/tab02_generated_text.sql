-- Table 2. The greedy texts of each variant and of dense.
-- One row per (model, prompt, variant).
WITH written AS (
    SELECT
        model,
        variant,
        method,
        prompt,
        kind,
        dense_text,
        variant_text,
        equal_characters,
        parted_characters,
        first_divergence,
        generated_text.n_tokens,
        longest_loop,
        repeated_ngram_share,
        perplexity_under_dense / dense_perplexity AS perplexity_ratio,
        prompt_information,
        verdict
    FROM generated_text
    INNER JOIN compression_run USING (model, variant)
    WHERE sampling_temperature = 0
)

SELECT *
FROM written
ORDER BY model, kind, prompt, method, length(variant), variant;

-- Findings: how many texts of each variant have a verdict, greedy and sampled.
WITH counted AS (
    SELECT
        model,
        if(sampling_temperature = 0, 'greedy', 'sampled at T = ' || sampling_temperature) AS way,
        verdict,
        variant,
        count(*) AS texts,
        sum(count(*)) OVER (PARTITION BY model, sampling_temperature) AS all_texts
    FROM generated_text
    GROUP BY model, sampling_temperature, verdict, variant
)

SELECT
    model,
    format(
        'Of {} texts ({}), {} are {}: {}.',
        any_value(all_texts),
        way,
        sum(texts),
        verdict,
        string_agg(format('{} of {}', texts, variant), ', ' ORDER BY texts DESC, variant ASC)
    ) AS finding
FROM counted
WHERE verdict <> 'changed'
GROUP BY model, way, verdict
ORDER BY model, way, verdict;
