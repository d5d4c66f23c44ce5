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

-- Findings: the verdicts by variant, greedy and sampled, and the token at which texts diverge.
WITH counted AS (
    SELECT
        model,
        variant,
        sampling_temperature > 0 AS is_sampled,
        count(*) AS prompts,
        count(*) FILTER (verdict = 'intact') AS intact,
        count(*) FILTER (verdict = 'changed') AS changed,
        count(*) FILTER (verdict = 'empty') AS blank,
        count(*) FILTER (verdict = 'degenerate') AS degenerate,
        count(*) FILTER (verdict = 'off-prompt') AS off_prompt,
        median(first_divergence) AS parted
    FROM generated_text
    GROUP BY ALL
)

SELECT
    model,
    format(
        '{}: of {} {} texts, {} are intact, {} changed, {} empty, {} degenerate '
        'and {} off-prompt.{}',
        variant,
        prompts,
        if(is_sampled, 'sampled', 'greedy'),
        intact,
        changed,
        blank,
        degenerate,
        off_prompt,
        coalesce(format(' Half of the texts that differ do so by token {:.0f}.', parted), '')
    ) AS finding
FROM counted
ORDER BY model ASC, is_sampled ASC, intact DESC, degenerate ASC, variant ASC;
