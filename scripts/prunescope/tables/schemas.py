"""Every Parquet table of the store: grain, partition keys, columns with types and meanings.

A table is declared here once. `store.write` refuses what does not match, the queries in
`reports/` read these names, and the tests bind every query to empty tables of these types.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = "1"
"""Raised when a column changes meaning; travels in the metadata of every artifact."""


PAPERS_READOUT = "lm_head"
"""z = lm_head(h) at every depth, Eq. 2: what a figure shows unless it says otherwise."""

READOUTS = (PAPERS_READOUT, "final_norm")
"""How states between blocks become logits; the second norms them first, the usual logit lens."""


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type and what a value means, with unit and equation.

    `wall_clock` marks what a repeated run gives another value of: times, speeds, peaks of memory
    and the machine they were measured on. `differences` skips these columns.
    """

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = False
    wall_clock: bool = False


@dataclass(frozen=True)
class Table:
    """One table: what a row is, the keys in its path, the columns in its files."""

    name: str
    grain: str
    partition: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of one file; the partition keys live in the path."""
        return pa.schema(
            [
                pa.field(c.name, c.type, nullable=c.nullable, metadata={"meaning": c.meaning})
                for c in self.columns
            ]
        )

    def empty(self) -> pa.Table:
        """No rows, but every column a query may name, partition keys included."""
        keys = [pa.field(key, pa.string()) for key in self.partition]
        return pa.schema([*keys, *self.schema]).empty_table()


_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int32(), pa.float64(), pa.bool_()
_LONG = pa.int64()
_IDS = pa.list_(pa.int32())

_TRACE_KEY = (
    Column("prompt", _TEXT, "prompt id in config"),
    Column("step", _INT, "decoded token counted from 0; step 0 has read only the prompt"),
    Column("block", _INT, "transformer block counted from 0"),
    Column("sublayer", _TEXT, "the edited sublayer: attn or mlp"),
)
_DECODED_KEY = (
    Column("prompt", _TEXT, "prompt id in config"),
    Column("sampling_temperature", _FLOAT, "of the decoding; 0 is greedy"),
    Column("history", _TEXT, "dense_cache, prompt_perturbed, teacher_forced or free_running"),
    Column("step", _INT, "decoded token counted from 0; step 0 has read only the prompt"),
)
_TEMPERATURE = Column(
    "temperature", _FLOAT, "T of softmax(z/T); NULL where a statistic does not depend on T", True
)


def _measure(name: str, meaning: str) -> Column:
    return Column(name, _FLOAT, meaning, nullable=True)


def _clocked(name: str, kind: pa.DataType, meaning: str, nullable: bool = False) -> Column:
    """A column that a repeated run gives another value of."""
    return Column(name, kind, meaning, nullable, wall_clock=True)


_DEVIATIONS = (
    Column("angular_deviation", _FLOAT, "1 - cos(dense, variant)"),
    _measure("relative_orthogonal_magnitude", "|Δ⊥|/|dense|, h and z (Eq. 6, 7)"),
    _measure("relative_parallel_magnitude", "|Δ∥|/|dense|, h and z"),
    _measure("kl_divergence", "KL(p|q) in nats, p only (Eq. 22)"),
    _measure("reverse_kl_divergence", "KL(q|p) in nats, p only"),
)
"""How far a variant's state lies from dense, in one space."""

_SHIFT = (
    _measure("mean_uniform", "mean of Δz over the vocabulary; T NULL"),
    _measure("var_uniform", "variance of Δz over the vocabulary; T NULL"),
    _measure("min_shift", "smallest Δz; T NULL"),
    _measure("max_shift", "largest Δz; T NULL"),
    _measure("mean_p", "mean of Δz under p"),
    _measure("var_p", "variance of Δz under p (Eq. 9)"),
    _measure("var_escort", "variance of Δz under r ∝ p² (Eq. 8)"),
    _measure("cumulant_3", "third cumulant of Δz under p"),
    _measure("cumulant_4", "fourth cumulant of Δz under p"),
)
"""The distribution of Δz, that theory predicts deviations from."""

_ESTIMATE = (
    Column("space", _TEXT, "embedding (h), logit (z) or probability (p)"),
    Column("quantity", _TEXT, "angular_deviation, kl_divergence or kl_bound"),
    Column("order", _INT, "order in Δ of the estimate; NULL for the bound", True),
    Column("measured", _FLOAT, "computed from tensors"),
    Column("estimated", _FLOAT, "predicted by Theorem 1, 2, 3, a higher order or a bound"),
)
"""A measurement and its prediction."""

_ALL: Sequence[Table] = (
    Table(
        "documents",
        "One row per document of a corpus, in the corpus's order.",
        ("corpus",),
        (
            Column("document_id", _TEXT, "url or member and line the text came from"),
            Column("text", _TEXT, "the document"),
        ),
    ),
    Table(
        "retrieval_corpus",
        "One row per document of a retrieval set, in BEIR's layout.",
        ("retrieval_set",),
        (
            Column("_id", _TEXT, "document id"),
            Column("title", _TEXT, "its title, empty where it has none"),
            Column("text", _TEXT, "its text"),
        ),
    ),
    Table(
        "retrieval_queries",
        "One row per query of a retrieval set that has judgements.",
        ("retrieval_set",),
        (
            Column("_id", _TEXT, "query id"),
            Column("text", _TEXT, "the query, before any instruction"),
        ),
    ),
    Table(
        "retrieval_qrels",
        "One row per judged pair of query and document.",
        ("retrieval_set",),
        (
            Column("query-id", _TEXT, "a query of the set"),
            Column("corpus-id", _TEXT, "a document of the set"),
            Column("score", _INT, "grade; above 0 is relevant"),
        ),
    ),
    Table(
        "model_check",
        "One row per check: what prunescope reads of a model, against what the model computes.",
        ("model",),
        (
            Column("check", _TEXT, "what was compared"),
            Column("measured", _FLOAT, "largest relative difference of any position, or a count"),
            Column("tolerance", _FLOAT, "what it may be at most"),
            Column("passed", _BOOL, "True where it is within the tolerance"),
            Column("remedy", _TEXT, "what to do where it is not"),
        ),
    ),
    Table(
        "noise_floor",
        "One row per (comparison, place, space): dense against itself where only rounding differs.",
        ("model",),
        (
            Column("comparison", _TEXT, "the two ways in which the same text was computed"),
            Column("dtype", _TEXT, "number type of the model's weights"),
            Column(
                "readout", _TEXT, "of a state between blocks; NULL is the model's own output", True
            ),
            Column("block", _INT, "block whose sublayer wrote the state; NULL likewise", True),
            Column("sublayer", _TEXT, "attn or mlp; NULL likewise", True),
            Column("space", _TEXT, "embedding (h), logit or probability"),
            Column("n_positions", _INT, "positions compared"),
            Column("mean_angular_deviation", _FLOAT, "mean over positions of 1 - cos"),
            Column("max_angular_deviation", _FLOAT, "largest of them"),
            _measure("mean_kl_divergence", "mean over positions of KL in nats, p only, T = 1"),
            _measure("max_kl_divergence", "largest of them"),
            Column(
                "n_disagreements",
                _INT,
                "positions at which the likeliest tokens differ; NULL between blocks",
                True,
            ),
        ),
    ),
    Table(
        "calibration",
        "One row per calibration sequence, all of one length.",
        ("model",),
        (
            Column("sequence", _INT, "0-based index"),
            Column("token_ids", _IDS, "tokens of this model's tokenizer"),
            Column("document_ids", pa.list_(_TEXT), "documents of the segments, in order"),
            Column("document_offsets", _IDS, "token at which each segment starts in its document"),
            Column("segment_starts", _IDS, "token at which each segment starts in the sequence"),
        ),
    ),
    Table(
        "influence",
        "One row per sublayer (attn, mlp) and per whole block (block).",
        ("model",),
        (
            Column("block", _INT, "transformer block counted from 0"),
            Column("sublayer", _TEXT, "attn, mlp, or block for both"),
            Column("influence", _FLOAT, "1 - mean over calibration tokens of cos(input, output)"),
            Column("n_tokens", pa.int64(), "calibration tokens averaged over"),
        ),
    ),
    Table(
        "compression_report",
        "One row per linear a method edits, or per sublayer or block a drop method ranks.",
        ("model", "variant"),
        (
            Column("method", _TEXT, "file in methods/"),
            Column("block", _INT, "transformer block counted from 0"),
            Column("sublayer", _TEXT, "attn, mlp, or block for both"),
            Column("linear", _TEXT, "name within the block; NULL for a sublayer", True),
            _measure("sparsity", "share of zeros in the edited weight, linears only"),
            _measure("mean_importance", "mean over weights (neurons) of what the method ranks by"),
            _measure("relative_output_error", "|(Ŵ-W)X|/|WX|, X calibration inputs, linears only"),
            _measure("influence", "the score it was ranked by, drops only"),
            Column("rank", _INT, "0 = least influential of those that may be dropped", True),
            Column("removed", _BOOL, "True where the variant drops it", True),
            Column("n_drop", _INT, "how many the variant drops, drops only", True),
        ),
    ),
    Table(
        "compression_run",
        "One row per variant: what making its edit took.",
        ("model", "variant"),
        (
            Column("method", _TEXT, "file in methods/"),
            Column("settings", _TEXT, "the variant's settings in config, as JSON"),
            _clocked("seconds", _FLOAT, "from the method's start to its edit, loading left out"),
            _clocked(
                "peak_memory_mb",
                _FLOAT,
                "largest resident set, GPU memory added; NULL for drops",
                nullable=True,
            ),
            Column("n_tokens", pa.int64(), "calibration tokens given to the method"),
            Column("threads", _INT, "CPU threads: they decide the order of sums"),
            Column("forward_dtype", _TEXT, "of calibration passes; NULL for drops", True),
        ),
    ),
    Table(
        "dense_answer",
        "One row per (prompt, sampling_temperature): dense's answer, the context of every trace.",
        ("model",),
        (
            Column("prompt", _TEXT, "prompt id in config"),
            Column("kind", _TEXT, "multiple_choice, arithmetic or open_ended"),
            Column("text", _TEXT, "the prompt before the chat template"),
            Column("rendered", _TEXT, "the prompt as the model reads it, special tokens included"),
            Column("sampling_temperature", _FLOAT, "of the decoding; 0 is greedy"),
            Column("prompt_token_ids", _IDS, "the prompt as the model reads it"),
            Column("answer_token_ids", _IDS, "the tokens it wrote, end of text included"),
            Column("answer_text", _TEXT, "the answer decoded, special tokens left out"),
            Column("stopped", _BOOL, "True where it ended by itself"),
        ),
    ),
    Table(
        "variant_cost",
        "One row per variant: what it costs and how near it stays, beside dense in the same job.",
        ("model", "variant"),
        (
            Column("method", _TEXT, "file in methods/"),
            Column("parameters_dense", _LONG, "numbers in the dense model's weights"),
            Column("parameters", _LONG, "numbers in the weights of the variant as it runs"),
            Column("nonzero_parameters", _LONG, "those of them that are not zero"),
            Column("bytes_dense", _LONG, "the dense weights at their dtype, tied ones once"),
            Column("bytes", _LONG, "the variant's weights standing alone, packed where they are"),
            Column("bytes_edit", _LONG, "size of the edit's file: what it needs beside dense"),
            Column("kv_cache_bytes_per_token_dense", _LONG, "keys and values of one position"),
            Column("kv_cache_bytes_per_token", _LONG, "the same of the variant"),
            *(
                _clocked(f"{phase}_tokens_per_second{whose}", _FLOAT, f"{meaning}, batch 1")
                for phase, meaning in (
                    ("prefill", "prompt tokens read a second"),
                    ("decode", "tokens written a second, greedily, on the key-value cache"),
                )
                for whose in ("_dense", "")
            ),
            Column("prefill_tokens", _INT, "length of the timed prompt"),
            Column("decoded_tokens", _INT, "tokens written after it"),
            _clocked("device", _TEXT, "cpu, or the name of the GPU"),
            _clocked("threads", _INT, "CPU threads"),
            Column(
                "steps", _INT, "steps of all prompts compared, the first of each of dense's answers"
            ),
            Column("similarity_embedding", _FLOAT, "mean cosine with dense of h after final norm"),
            Column("similarity_logit", _FLOAT, "mean cosine with dense of the model's own logits"),
            Column("similarity_probability", _FLOAT, "mean cosine with dense of p at T = 1"),
            Column("mean_kl_divergence", _FLOAT, "mean over steps of KL(p|q) in nats, T = 1"),
            Column("median_kl_divergence", _FLOAT, "median over steps of KL(p|q) in nats, T = 1"),
            Column("top_token_agreement", _FLOAT, "share of steps with dense's likeliest token"),
        ),
    ),
    Table(
        "task_scores",
        "One row per (task, metric, filter): lm-eval's score over all items of the task.",
        ("model", "variant", "suite"),
        (
            Column("task", _TEXT, "name in config"),
            Column("metric", _TEXT, "lm-eval's name of the metric"),
            Column("filter", _TEXT, "lm-eval's name of how the answer was read; none: as it is"),
            Column("headline", _BOOL, "True of the one metric config names for the task"),
            Column("family", _TEXT, "non_generative or generative"),
            Column("n_shot", _INT, "solved examples before each question"),
            Column("n_items", _INT, "items scored"),
            Column("n_cut", _INT, "those whose context was cut to fit the model's positions"),
            _measure("score", "mean over items, or a perplexity"),
            _measure("standard_error", "of the score, as lm-eval estimates it"),
            Column("higher_is_better", _BOOL, "direction of the metric"),
            _clocked("seconds", _FLOAT, "time of the whole task, loading of the model left out"),
        ),
    ),
    Table(
        "task_samples",
        "One row per (task, subtask, item, metric, filter): what became of every item.",
        ("model", "variant", "suite"),
        (
            Column("task", _TEXT, "name in config"),
            Column("subtask", _TEXT, "lm-eval's task within a group; else the task"),
            Column("item", _INT, "place among the rows of the split, counted from 0"),
            Column("metric", _TEXT, "lm-eval's name of the metric"),
            Column("filter", _TEXT, "lm-eval's name of how the answer was read; none: as it is"),
            Column("outcome", _FLOAT, "the item's score; of perplexities, log p a unit, in nats"),
            _measure("chance", "expected outcome of a guess; 0 if written; NULL: not defined"),
            Column("response", _TEXT, "what the model wrote, or the option it chose"),
            Column("target", _TEXT, "the right answer"),
            Column("doc_hash", _TEXT, "sha256 of the item's row: equal items have equal hashes"),
            Column("token_ids", _IDS, "what it wrote, with what ended it; NULL: it chose", True),
            Column("stopped", _BOOL, "True where it ended by itself; NULL: it chose", True),
            Column("n_tokens", _INT, "tokens it wrote; NULL: it chose", True),
            _measure("repeated_ngram_share", "share of its 4-grams that occurred before"),
            Column("longest_loop", _INT, "most tokens in immediate repetitions of a phrase", True),
            _measure("distinct_1", "different tokens over tokens"),
            _measure("distinct_2", "different 2-grams over 2-grams; NULL below 2 tokens"),
        ),
    ),
    Table(
        "score_difference",
        "One row per (scope, name): a variant's headline scores minus dense's on the same items.",
        ("model", "variant", "suite"),
        (
            Column("scope", _TEXT, "task; family: mean over its tasks; contrast of both families"),
            Column("name", _TEXT, "of the task, of the family or of the contrast"),
            Column("n_items", _INT, "items compared; of a contrast those of the smaller family"),
            _measure("dense_score", "dense's score, 0 to 1; NULL of a contrast"),
            _measure("score", "the variant's score, 0 to 1; NULL of a contrast"),
            _measure("chance", "score of a guess, 0 to 1; NULL of a contrast"),
            _measure("difference", "score minus dense_score; of a contrast, of both kept"),
            _measure("difference_low", "lower end of its 95 % interval, bootstrap over items"),
            _measure("difference_high", "upper end"),
            _measure("p_value", "two-sided, of no difference: exchanges, or the bootstrap"),
            _measure("dense_margin_low", "lower end of the interval of dense_score minus chance"),
            _measure("kept", "(score - chance) / (dense_score - chance); NULL: dense may guess"),
            _measure("kept_low", "lower end of its 95 % interval, bootstrap over items"),
            _measure("kept_high", "upper end"),
        ),
    ),
    Table(
        "matched_samples",
        "One row per (source, item, format): one question, asked in three formats.",
        ("model", "variant"),
        (
            Column("source", _TEXT, "squad, gsm8k or humaneval"),
            Column("item", _INT, "place among the rows of the split, counted from 0"),
            Column("format", _TEXT, "retrieval, multiple_choice or generation"),
            Column("correct", _BOOL, "right answer first, F1 of 0.5, number, tests; or NULL", True),
            _measure("score", "0 to 1: 1/rank, or F1, exact, passed; NULL where no code is run"),
            Column("exact", _BOOL, "exact match of what is generated, squad and gsm8k only", True),
            _measure("rank", "of the right answer, 1 is first, ties share a mean; ranked only"),
            Column("n_candidates", _INT, "answers it was ranked among; ranked only", True),
            _measure("margin", "right minus best wrong: cosine, or log p a byte in nats"),
            Column("text", _TEXT, "the answer ranked first, or what the model wrote"),
        ),
    ),
    Table(
        "sublayer_trace",
        "One row per (prompt, step, block, sublayer, temperature, space).",
        ("model", "variant", "readout"),
        (
            *_TRACE_KEY,
            _TEMPERATURE,
            Column("space", _TEXT, "embedding (h), logit (z) or probability (p)"),
            *_DEVIATIONS,
        ),
    ),
    Table(
        "logit_shift",
        "One row per (prompt, step, block, sublayer, temperature): the distribution of Δz.",
        ("model", "variant", "readout"),
        (
            *_TRACE_KEY,
            _TEMPERATURE,
            *_SHIFT,
        ),
    ),
    Table(
        "deviation",
        "One row per (prompt, step, block, sublayer, temperature, quantity, order).",
        ("model", "variant", "readout"),
        (
            *_TRACE_KEY,
            _TEMPERATURE,
            *_ESTIMATE,
        ),
    ),
    Table(
        "decoded_step",
        "One row per (prompt, sampling_temperature, history, step): what both models chose.",
        ("model", "variant"),
        (
            *_DECODED_KEY,
            Column(
                "running", _TEXT, "both, dense or variant: who had not stopped before this step"
            ),
            Column("dense_token", _INT, "token dense chose; NULL once it has stopped", True),
            Column(
                "variant_token", _INT, "token the variant chose; NULL once it has stopped", True
            ),
        ),
    ),
    Table(
        "decoding_trace",
        "One row per (prompt, sampling_temperature, history, step, temperature, space).",
        ("model", "variant"),
        (
            *_DECODED_KEY,
            _TEMPERATURE,
            Column("space", _TEXT, "embedding (h after the final norm), logit or probability"),
            *_DEVIATIONS,
        ),
    ),
    Table(
        "decoding_shift",
        "One row per (prompt, sampling_temperature, history, step, temperature): Δz at the output.",
        ("model", "variant"),
        (
            *_DECODED_KEY,
            _TEMPERATURE,
            *_SHIFT,
        ),
    ),
    Table(
        "decoding_deviation",
        "One row per (prompt, sampling_temperature, history, step, temperature, quantity, order).",
        ("model", "variant"),
        (
            *_DECODED_KEY,
            _TEMPERATURE,
            *_ESTIMATE,
        ),
    ),
    Table(
        "history_term",
        "One row per (prompt, sampling_temperature, step, term): Δz of free running, telescoped.",
        ("model", "variant"),
        (
            Column("prompt", _TEXT, "prompt id in config"),
            Column("sampling_temperature", _FLOAT, "of the decoding; 0 is greedy"),
            Column("step", _INT, "decoded token counted from 0"),
            Column(
                "term",
                _TEXT,
                "parameters, prompt_history, generated_history or diverged_tokens (Eq. 70)",
            ),
            Column(
                "norm", _FLOAT, "|term of Δz|, in logits, each term centred over the vocabulary"
            ),
            Column("share", _FLOAT, "<term, Δz>/|Δz|², centred; shares of a step sum to 1", True),
        ),
    ),
    Table(
        "option_trace",
        "One row per (prompt, option, temperature) of a multiple-choice prompt, at step 0.",
        ("model", "variant"),
        (
            Column("prompt", _TEXT, "prompt id in config"),
            Column("option", _TEXT, "the letter, as the prompt writes it"),
            Column("token", _INT, "the token that stands for it as the answer begins"),
            Column("temperature", _FLOAT, "T of softmax(z/T)"),
            Column("p_dense", _FLOAT, "probability in the full vocabulary"),
            Column("p_variant", _FLOAT, "probability in the full vocabulary"),
            Column("log_likelihood_dense", _FLOAT, "log of it, in nats"),
            Column("log_likelihood_variant", _FLOAT, "log of it, in nats"),
            Column("share_dense", _FLOAT, "probability among the options alone"),
            Column("share_variant", _FLOAT, "probability among the options alone"),
            Column("rank_dense", _INT, "0 = likeliest option"),
            Column("rank_variant", _INT, "0 = likeliest option"),
        ),
    ),
    Table(
        "option_agreement",
        "One row per (prompt, temperature, scope) of a multiple-choice prompt, at step 0.",
        ("model", "variant"),
        (
            Column("prompt", _TEXT, "prompt id in config"),
            Column("temperature", _FLOAT, "T of softmax(z/T)"),
            Column("scope", _TEXT, "vocabulary, or options (renormalised among them)"),
            Column("angular_deviation", _FLOAT, "1 - cos(p, q) within the scope"),
            Column("kl_divergence", _FLOAT, "KL(p|q) within the scope, in nats"),
            Column("argmax_survived", _BOOL, "True where the scope's likeliest token is the same"),
        ),
    ),
    Table(
        "top_token",
        "One row per (prompt, side, rank): the likeliest tokens at step 0, T = 1.",
        ("model", "variant"),
        (
            Column("prompt", _TEXT, "prompt id in config"),
            Column("side", _TEXT, "dense or variant: whose likeliest tokens these are"),
            Column("rank", _INT, "0 = likeliest"),
            Column("token", _INT, "token id"),
            Column("text", _TEXT, "the token decoded alone"),
            Column("p_dense", _FLOAT, "its probability in dense"),
            Column("p_variant", _FLOAT, "its probability in the variant"),
        ),
    ),
    Table(
        "generated_text",
        "One row per (prompt, sampling_temperature): what the variant writes beside dense.",
        ("model", "variant"),
        (
            Column("prompt", _TEXT, "prompt id in config"),
            Column("kind", _TEXT, "multiple_choice, arithmetic or open_ended"),
            Column("sampling_temperature", _FLOAT, "of the decoding; 0 is greedy"),
            Column("dense_text", _TEXT, "what dense writes, special tokens left out"),
            Column("variant_text", _TEXT, "what the variant writes, special tokens left out"),
            Column("dense_token_ids", _IDS, "end of text included"),
            Column("variant_token_ids", _IDS, "end of text included"),
            Column("n_tokens", _INT, "tokens the variant wrote"),
            Column("stopped", _BOOL, "True where the variant ended by itself"),
            Column(
                "first_divergence", _INT, "first step that differs from dense; NULL: none", True
            ),
            Column("equal_characters", _INT, "of variant_text before that step's token"),
            Column("parted_characters", _INT, "of that step's token in variant_text"),
            Column("equal_share", _FLOAT, "share of positions with the same token, of the longer"),
            Column("repeated_ngram_share", _FLOAT, "share of its 4-grams that occurred before"),
            Column("longest_loop", _INT, "most tokens in immediate repetitions of one phrase"),
            Column("distinct_1", _FLOAT, "different tokens over tokens"),
            Column(
                "distinct_2", _FLOAT, "different 2-grams over 2-grams; NULL below 2 tokens", True
            ),
            _measure("perplexity_under_dense", "exp of mean -log p_dense(token), nats a token"),
            _measure("dense_perplexity", "the same of dense's own text"),
            Column("verdict", _TEXT, "intact, changed or degenerate, by config's thresholds"),
        ),
    ),
    Table(
        "attention_error",
        "One row per (prompt, history, block, step, head_group, path, keys): Δo split exactly.",
        ("model", "variant"),
        (
            Column("prompt", _TEXT, "prompt id in config"),
            Column(
                "history",
                _TEXT,
                "edited_sublayer (this block alone edited, dense input), or teacher_forced",
            ),
            Column("block", _INT, "transformer block counted from 0"),
            Column("step", _INT, "decoded token counted from 0"),
            Column("head_group", _INT, "key-value head counted from 0, with its query heads"),
            Column("path", _TEXT, "value, weight or interaction (Eq. 64)"),
            Column("keys", _TEXT, "prompt or generated: where the keys stand (Eq. 69)"),
            Column("relative_norm", _FLOAT, "|part| / |o|, over the group's heads"),
            Column("share", _FLOAT, "<part, Δo>/|Δo|²; NULL where Δo is zero", True),
        ),
    ),
    Table(
        "retrieval_scores",
        "One row per (retrieval_set, metric): the mean over the set's queries.",
        ("model", "variant"),
        (
            Column("retrieval_set", _TEXT, "name in config"),
            Column("metric", _TEXT, "ndcg_at_10 or recall_at_100, trec_eval's"),
            Column("score", _FLOAT, "between 0 and 1"),
            Column("n_queries", _INT, "queries averaged over"),
            Column("n_documents", _INT, "documents searched"),
            Column("n_cut", _INT, "queries and documents longer than max_length: rest not read"),
            _clocked(
                "seconds", _FLOAT, "to embed the set and search it, less what was kept from before"
            ),
            Column("pooling", _TEXT, "mean or last_token"),
        ),
    ),
    Table(
        "retrieval_samples",
        "One row per (retrieval_set, query).",
        ("model", "variant"),
        (
            Column("retrieval_set", _TEXT, "name in config"),
            Column("query", _TEXT, "query id of the set"),
            Column("ndcg_at_10", _FLOAT, "trec_eval's ndcg_cut_10, between 0 and 1"),
            Column("recall_at_100", _FLOAT, "share of its relevant documents among the first 100"),
            _measure(
                "rank", "of the best relevant document, 1 = first, ties share; NULL: has none"
            ),
            Column("best_score", _FLOAT, "dot product with the document found first"),
            Column("n_cut", _INT, "of the query and its relevant documents, those that were cut"),
        ),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _ALL}
