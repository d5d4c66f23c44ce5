"""Tables of the stage `tracing`: answers, costs, and how far variants lie from dense."""

from prunescope.tables.table import (
    BOOL,
    DECODED_KEY,
    FLOAT,
    IDS,
    INT,
    LONG,
    TEMPERATURE,
    TEXT,
    TRACE_KEY,
    Column,
    Table,
    clocked,
    measure,
)

_DEVIATIONS = (
    Column("angular_deviation", FLOAT, "1 - cos(dense, variant)"),
    measure("relative_orthogonal_magnitude", "|Δ⊥|/|dense|, h and z (Eq. 6, 7)"),
    measure("relative_parallel_magnitude", "|Δ∥|/|dense|, h and z"),
    measure("kl_divergence", "KL(p|q) in nats, p only (Eq. 22)"),
    measure("reverse_kl_divergence", "KL(q|p) in nats, p only"),
)
"""How far the state of a variant lies from the state of dense, in one space."""


_SHIFT = (
    measure("mean_uniform", "mean of Δz over the vocabulary; T NULL"),
    measure("var_uniform", "variance of Δz over the vocabulary; T NULL"),
    measure("min_shift", "smallest Δz; T NULL"),
    measure("max_shift", "largest Δz; T NULL"),
    measure("mean_p", "mean of Δz under p"),
    measure("var_p", "variance of Δz under p (Eq. 9)"),
    measure("var_escort", "variance of Δz under r ∝ p² (Eq. 8)"),
    measure("cumulant_3", "third cumulant of Δz under p"),
    measure("cumulant_4", "fourth cumulant of Δz under p"),
)
"""The distribution of Δz, from which theory predicts the deviations."""


ANSWERS_AND_COSTS: tuple[Table, ...] = (
    Table(
        "dense_answer",
        "One row per (prompt, sampling_temperature): dense's answer, the context of every trace.",
        ("model",),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column("kind", TEXT, "multiple_choice, arithmetic or open_ended"),
            Column("text", TEXT, "the prompt before the chat template"),
            Column("rendered", TEXT, "the prompt as the model reads it, special tokens included"),
            Column("sampling_temperature", FLOAT, "of the decoding; 0 is greedy"),
            Column("prompt_token_ids", IDS, "the prompt as the model reads it"),
            Column("answer_token_ids", IDS, "the tokens it wrote, end of text included"),
            Column("answer_text", TEXT, "the answer decoded, special tokens left out"),
            Column("stopped", BOOL, "True where it ended by itself"),
        ),
    ),
    Table(
        "variant_cost",
        "One row per variant: what it costs and how near it stays, beside dense in the same job.",
        ("model", "variant"),
        (
            Column("method", TEXT, "file in methods/"),
            Column("parameters_dense", LONG, "numbers in the dense model's weights"),
            Column("parameters", LONG, "numbers in the weights of the variant as it runs"),
            Column("nonzero_parameters", LONG, "those of them that are not zero"),
            Column("bytes_dense", LONG, "the dense weights at their dtype, tied ones once"),
            Column("bytes", LONG, "the variant's weights standing alone, packed where they are"),
            Column("bytes_edit", LONG, "size of the edit's file: what it needs beside dense"),
            Column("kv_cache_bytes_per_token_dense", LONG, "keys and values of one position"),
            Column("kv_cache_bytes_per_token", LONG, "the same of the variant"),
            *(
                clocked(f"{phase}_tokens_per_second{whose}", FLOAT, f"{meaning}, batch 1")
                for phase, meaning in (
                    ("prefill", "prompt tokens read a second"),
                    ("decode", "tokens written a second, greedily, on the key-value cache"),
                )
                for whose in ("_dense", "")
            ),
            Column("prefill_tokens", INT, "length of the timed prompt"),
            Column("decoded_tokens", INT, "tokens written after it"),
            clocked("device", TEXT, "cpu, or the name of the GPU"),
            clocked("threads", INT, "CPU threads"),
            Column(
                "steps", INT, "steps of all prompts compared, the first of each of dense's answers"
            ),
            Column("similarity_embedding", FLOAT, "mean cosine with dense of h after final norm"),
            Column("similarity_logit", FLOAT, "mean cosine with dense of the model's own logits"),
            Column("similarity_probability", FLOAT, "mean cosine with dense of p at T = 1"),
            Column("mean_kl_divergence", FLOAT, "mean over steps of KL(p|q) in nats, T = 1"),
            Column("median_kl_divergence", FLOAT, "median over steps of KL(p|q) in nats, T = 1"),
            Column("top_token_agreement", FLOAT, "share of steps with dense's likeliest token"),
        ),
    ),
)


SUBLAYER_TRACES: tuple[Table, ...] = (
    Table(
        "sublayer_trace",
        "One row per (prompt, step, block, sublayer, temperature, space).",
        ("model", "variant", "readout"),
        (
            *TRACE_KEY,
            TEMPERATURE,
            Column("space", TEXT, "embedding (h), logit (z) or probability (p)"),
            *_DEVIATIONS,
        ),
    ),
    Table(
        "logit_shift",
        "One row per (prompt, step, block, sublayer, temperature): the distribution of Δz.",
        ("model", "variant", "readout"),
        (
            *TRACE_KEY,
            TEMPERATURE,
            *_SHIFT,
        ),
    ),
)
"""One sublayer of a variant is edited at a time, and dense supplies its input."""


DECODING_TRACES: tuple[Table, ...] = (
    Table(
        "decoded_step",
        "One row per (prompt, sampling_temperature, history, step): what both models chose.",
        ("model", "variant"),
        (
            *DECODED_KEY,
            Column("running", TEXT, "both, dense or variant: who had not stopped before this step"),
            Column("dense_token", INT, "token dense chose; NULL once it has stopped", True),
            Column("variant_token", INT, "token the variant chose; NULL once it has stopped", True),
        ),
    ),
    Table(
        "decoding_trace",
        "One row per (prompt, sampling_temperature, history, step, temperature, space).",
        ("model", "variant"),
        (
            *DECODED_KEY,
            TEMPERATURE,
            Column("space", TEXT, "embedding (h after the final norm), logit or probability"),
            *_DEVIATIONS,
        ),
    ),
    Table(
        "decoding_shift",
        "One row per (prompt, sampling_temperature, history, step, temperature): Δz at the output.",
        ("model", "variant"),
        (
            *DECODED_KEY,
            TEMPERATURE,
            *_SHIFT,
        ),
    ),
)
"""The whole variant decodes, with each of four histories."""


HISTORY_TERMS: tuple[Table, ...] = (
    Table(
        "history_term",
        "One row per (prompt, sampling_temperature, step, term): Δz of free running, telescoped.",
        ("model", "variant"),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column("sampling_temperature", FLOAT, "of the decoding; 0 is greedy"),
            Column("step", INT, "decoded token counted from 0"),
            Column(
                "term",
                TEXT,
                "parameters, prompt_history, generated_history or diverged_tokens (Eq. 70)",
            ),
            Column("norm", FLOAT, "|term of Δz|, in logits, each term centred over the vocabulary"),
            Column("share", FLOAT, "<term, Δz>/|Δz|², centred; shares of a step sum to 1", True),
        ),
    ),
)


OPTIONS_AND_TEXTS: tuple[Table, ...] = (
    Table(
        "option_trace",
        "One row per (prompt, option, temperature) of a multiple-choice prompt, at step 0.",
        ("model", "variant"),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column("option", TEXT, "the letter, as the prompt writes it"),
            Column("token", INT, "the token that stands for it as the answer begins"),
            Column("temperature", FLOAT, "T of softmax(z/T)"),
            Column("p_dense", FLOAT, "probability in the full vocabulary"),
            Column("p_variant", FLOAT, "probability in the full vocabulary"),
            Column("log_likelihood_dense", FLOAT, "log of it, in nats"),
            Column("log_likelihood_variant", FLOAT, "log of it, in nats"),
            Column("share_dense", FLOAT, "probability among the options alone"),
            Column("share_variant", FLOAT, "probability among the options alone"),
            Column("rank_dense", INT, "0 = likeliest option"),
            Column("rank_variant", INT, "0 = likeliest option"),
        ),
    ),
    Table(
        "option_agreement",
        "One row per (prompt, temperature, scope) of a multiple-choice prompt, at step 0.",
        ("model", "variant"),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column("temperature", FLOAT, "T of softmax(z/T)"),
            Column("scope", TEXT, "vocabulary, or options (renormalised among them)"),
            Column("angular_deviation", FLOAT, "1 - cos(p, q) within the scope"),
            Column("kl_divergence", FLOAT, "KL(p|q) within the scope, in nats"),
            Column("argmax_survived", BOOL, "True where the scope's likeliest token is the same"),
        ),
    ),
    Table(
        "top_token",
        "One row per (prompt, side, rank): the likeliest tokens at step 0, T = 1.",
        ("model", "variant"),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column("side", TEXT, "dense or variant: whose likeliest tokens these are"),
            Column("rank", INT, "0 = likeliest"),
            Column("token", INT, "token id"),
            Column("text", TEXT, "the token decoded alone"),
            Column("p_dense", FLOAT, "its probability in dense"),
            Column("p_variant", FLOAT, "its probability in the variant"),
        ),
    ),
    Table(
        "generated_text",
        "One row per (prompt, sampling_temperature): what the variant writes beside dense.",
        ("model", "variant"),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column("kind", TEXT, "multiple_choice, arithmetic or open_ended"),
            Column("sampling_temperature", FLOAT, "of the decoding; 0 is greedy"),
            Column("dense_text", TEXT, "what dense writes, special tokens left out"),
            Column("variant_text", TEXT, "what the variant writes, special tokens left out"),
            Column("dense_token_ids", IDS, "end of text included"),
            Column("variant_token_ids", IDS, "end of text included"),
            Column("n_tokens", INT, "tokens the variant wrote"),
            Column("stopped", BOOL, "True where the variant ended by itself"),
            Column("first_divergence", INT, "first step that differs from dense; NULL: none", True),
            Column("equal_characters", INT, "of variant_text before that step's token"),
            Column("parted_characters", INT, "of that step's token in variant_text"),
            Column("equal_share", FLOAT, "share of positions with the same token, of the longer"),
            Column("repeated_ngram_share", FLOAT, "share of its 4-grams that occurred before"),
            Column("longest_loop", INT, "most tokens in immediate repetitions of one phrase"),
            Column("distinct_1", FLOAT, "different tokens over tokens"),
            Column(
                "distinct_2", FLOAT, "different 2-grams over 2-grams; NULL below 2 tokens", True
            ),
            measure("perplexity_under_dense", "exp of mean -log p_dense(token), nats a token"),
            measure("dense_perplexity", "the same of dense's own text"),
            Column("verdict", TEXT, "intact, changed or degenerate, by config's thresholds"),
        ),
    ),
)
"""What becomes of the answers to prompts."""


ATTENTION_ERRORS: tuple[Table, ...] = (
    Table(
        "attention_error",
        "One row per (prompt, history, block, step, head_group, path, keys): Δo split exactly.",
        ("model", "variant"),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column(
                "history",
                TEXT,
                "edited_sublayer (this block alone edited, dense input), or teacher_forced",
            ),
            Column("block", INT, "transformer block counted from 0"),
            Column("step", INT, "decoded token counted from 0"),
            Column("head_group", INT, "key-value head counted from 0, with its query heads"),
            Column("path", TEXT, "value, weight or interaction (Eq. 64)"),
            Column("keys", TEXT, "prompt or generated: where the keys stand (Eq. 69)"),
            Column("relative_norm", FLOAT, "|part| / |o|, over the group's heads"),
            Column("share", FLOAT, "<part, Δo>/|Δo|²; NULL where Δo is zero", True),
        ),
    ),
)
