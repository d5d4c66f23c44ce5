"""Tables of the stage `tracing`: answers, costs, and how far variants lie from dense."""

from prunescope.tables.table import (
    ANSWER,
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
    measure("relative_orthogonal_magnitude", "|Δ⊥|/|dense|, h and z only (Eq. 6, 7)"),
    measure("relative_parallel_magnitude", "|Δ∥|/|dense|, h and z only"),
    measure("kl_divergence", "KL(p|q) in nats, p only (Eq. 22)"),
    measure("reverse_kl_divergence", "KL(q|p) in nats, p only"),
)
"""How far the state of a variant lies from the state of dense, in one space."""


_SHIFT = (
    measure("mean_uniform", "mean of Δz over the vocabulary; temperature is NULL"),
    measure("var_uniform", "variance of Δz over the vocabulary; temperature is NULL"),
    measure("min_shift", "smallest Δz; temperature is NULL"),
    measure("max_shift", "largest Δz; temperature is NULL"),
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
        ANSWER,
    ),
    Table(
        "variant_cost",
        "One row per variant: its size, speed and similarity to dense, measured in the same job.",
        ("model", "variant"),
        (
            Column("method", TEXT, "name of the compression method"),
            Column("parameters_dense", LONG, "number of parameters of the dense model"),
            Column("parameters", LONG, "number of parameters of the variant as it runs"),
            Column("nonzero_parameters", LONG, "number of them that are not zero"),
            Column("bytes_dense", LONG, "dense weights in their dtype, tied weights counted once"),
            Column("bytes", LONG, "the variant's weights on their own, packed if edited"),
            Column("bytes_edit", LONG, "size of the edit's file, needed in addition to dense"),
            Column("kv_cache_bytes_per_token_dense", LONG, "keys and values of one position"),
            Column("kv_cache_bytes_per_token", LONG, "keys and values of one position"),
            *(
                clocked(f"{phase}_tokens_per_second{whose}", FLOAT, f"{meaning}, batch 1")
                for phase, meaning in (
                    ("prefill", "prompt tokens read per second"),
                    ("decode", "tokens generated per second, greedily, with a key-value cache"),
                )
                for whose in ("_dense", "")
            ),
            *(
                clocked(f"{phase}_speedup{end}", FLOAT, meaning)
                for phase in ("prefill", "decode")
                for end, meaning in (
                    ("", "median over runs in turn of the seconds of dense over the variant's"),
                    ("_low", "lower end of its 95 % interval"),
                    ("_high", "upper end of that interval"),
                )
            ),
            Column("same_operations", BOOL, "True if it runs products of dense's shapes"),
            Column("prefill_tokens", INT, "length of the timed prompt"),
            Column("decoded_tokens", INT, "number of tokens generated after it"),
            clocked("device", TEXT, "cpu, or the name of the GPU"),
            clocked("threads", INT, "number of CPU threads"),
            Column(
                "steps",
                INT,
                "steps compared over all prompts, the first ones of each answer of dense",
            ),
            Column("similarity_embedding", FLOAT, "mean cosine to dense, h after the final norm"),
            Column("similarity_logit", FLOAT, "mean cosine to dense, the model's own logits"),
            Column("similarity_probability", FLOAT, "mean cosine to dense, p at T = 1"),
            Column("mean_kl_divergence", FLOAT, "mean over steps of KL(p|q) in nats, T = 1"),
            Column("median_kl_divergence", FLOAT, "median over steps of KL(p|q) in nats, T = 1"),
            Column("top_token_agreement", FLOAT, "share of steps with dense's most likely token"),
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
        "One row per (prompt, sampling_temperature, history, step): the tokens both models choose.",
        ("model", "variant"),
        (
            *DECODED_KEY,
            Column("running", TEXT, "models that had not stopped: both, dense or variant"),
            Column("dense_token", INT, "token of dense; NULL after it has stopped", True),
            Column("variant_token", INT, "token of the variant; NULL after it has stopped", True),
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
        "One row per (prompt, sampling_temperature, step, term): a part of Δz of free running.",
        ("model", "variant"),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column("sampling_temperature", FLOAT, "temperature of the decoding; 0 is greedy"),
            Column("step", INT, "decoding step counted from 0"),
            Column(
                "term",
                TEXT,
                "parameters, prompt_history, generated_history or diverged_tokens (Eq. 70)",
            ),
            Column("norm", FLOAT, "norm of this term of Δz in logits, centred over the vocabulary"),
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
            Column("option", TEXT, "letter of the option, as in the prompt"),
            Column("token", INT, "token of that letter at the start of an answer"),
            Column("temperature", FLOAT, "T of softmax(z/T)"),
            Column("p_dense", FLOAT, "probability in the full vocabulary"),
            Column("p_variant", FLOAT, "probability in the full vocabulary"),
            Column("log_likelihood_dense", FLOAT, "log of p_dense, in nats"),
            Column("log_likelihood_variant", FLOAT, "log of p_variant, in nats"),
            Column("share_dense", FLOAT, "probability among the options alone"),
            Column("share_variant", FLOAT, "probability among the options alone"),
            Column("rank_dense", INT, "0 = most likely option"),
            Column("rank_variant", INT, "0 = most likely option"),
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
            Column("argmax_survived", BOOL, "True if the scope's most likely token is the same"),
        ),
    ),
    Table(
        "top_token",
        "One row per (prompt, side, rank): the most likely tokens at step 0, T = 1.",
        ("model", "variant"),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column("side", TEXT, "dense or variant: whose most likely tokens these are"),
            Column("rank", INT, "0 = most likely"),
            Column("token", INT, "token id"),
            Column("text", TEXT, "the token decoded alone"),
            Column("p_dense", FLOAT, "probability of the token in dense"),
            Column("p_variant", FLOAT, "probability of the token in the variant"),
        ),
    ),
    Table(
        "generated_text",
        "One row per (prompt, sampling_temperature): the texts of the variant and of dense.",
        ("model", "variant"),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column("kind", TEXT, "multiple_choice, arithmetic or open_ended"),
            Column("sampling_temperature", FLOAT, "temperature of the decoding; 0 is greedy"),
            Column("dense_text", TEXT, "text that dense generates, without special tokens"),
            Column("variant_text", TEXT, "text that the variant generates, without special tokens"),
            Column("dense_token_ids", IDS, "end of text included"),
            Column("variant_token_ids", IDS, "end of text included"),
            Column("n_tokens", INT, "number of tokens that the variant generates"),
            Column("stopped", BOOL, "True if the variant ended with an end-of-text token"),
            Column(
                "first_divergence", INT, "first step that differs from dense; NULL if none", True
            ),
            Column("equal_characters", INT, "characters of variant_text before that step's token"),
            Column("parted_characters", INT, "characters of that step's token in variant_text"),
            Column(
                "equal_share", FLOAT, "share of the longer text's positions with the same token"
            ),
            Column("repeated_ngram_share", FLOAT, "share of its 4-grams that occurred before"),
            Column("longest_loop", INT, "most tokens in immediate repetitions of one phrase"),
            Column("distinct_1", FLOAT, "different tokens over all tokens"),
            Column(
                "distinct_2", FLOAT, "different 2-grams over all 2-grams; NULL below 2 tokens", True
            ),
            measure("perplexity_under_dense", "exp of the mean of -log p_dense(token) over tokens"),
            measure("dense_perplexity", "perplexity under dense of the text that dense generates"),
            measure(
                "prompt_information",
                "log p_dense per token after its prompt minus after others, nats; NULL if intact",
            ),
            Column("verdict", TEXT, "intact, changed, empty, degenerate or off-prompt"),
        ),
    ),
)
"""What becomes of the answers to prompts."""


ATTENTION_ERRORS: tuple[Table, ...] = (
    Table(
        "attention_error",
        "One row per (prompt, history, block, step, head_group, path, keys): a part of Δo.",
        ("model", "variant"),
        (
            Column("prompt", TEXT, "prompt id in config"),
            Column(
                "history",
                TEXT,
                "edited_sublayer (only this block edited, input of dense) or teacher_forced",
            ),
            Column("block", INT, "transformer block counted from 0"),
            Column("step", INT, "decoding step counted from 0"),
            Column("head_group", INT, "key-value head, with its query heads, counted from 0"),
            Column("path", TEXT, "value, weight or interaction (Eq. 64)"),
            Column("keys", TEXT, "prompt or generated: where the keys are (Eq. 69)"),
            Column("relative_norm", FLOAT, "|part| / |o|, over the heads of the group"),
            Column("share", FLOAT, "<part, Δo>/|Δo|²; NULL if Δo is zero", True),
        ),
    ),
)
