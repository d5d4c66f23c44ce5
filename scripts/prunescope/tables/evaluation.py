"""Tables of the stage `evaluation`: benchmark tasks, matched formats, retrieval."""

import pyarrow as pa

from prunescope.tables.table import BOOL, FLOAT, IDS, INT, TEXT, Column, Table, clocked, measure

BENCHMARK_TASKS: tuple[Table, ...] = (
    Table(
        "task_scores",
        "One row per (task, metric, filter): lm-eval's score over all items of the task.",
        ("model", "variant", "suite"),
        (
            Column("task", TEXT, "name in config"),
            Column("metric", TEXT, "lm-eval's name of the metric"),
            Column("filter", TEXT, "lm-eval's name of the answer filter; none for the raw answer"),
            Column("headline", BOOL, "True for the metric that config names for the task"),
            Column("family", TEXT, "non_generative or generative"),
            Column("n_shot", INT, "solved examples before each question"),
            Column("n_items", INT, "number of items scored"),
            Column("n_cut", INT, "items whose context was cut to fit the model's positions"),
            measure("score", "mean over items, or a perplexity"),
            measure("standard_error", "standard error of the score, as lm-eval estimates it"),
            Column("higher_is_better", BOOL, "True if a higher value of the metric is better"),
            clocked("seconds", FLOAT, "duration of the whole task, without loading the model"),
        ),
    ),
    Table(
        "task_samples",
        "One row per (task, subtask, item, metric, filter): the outcome of one item.",
        ("model", "variant", "suite"),
        (
            Column("task", TEXT, "name in config"),
            Column("subtask", TEXT, "lm-eval's task within a group; otherwise the task itself"),
            Column("item", INT, "index of the row in the split, counted from 0"),
            Column("metric", TEXT, "lm-eval's name of the metric"),
            Column("filter", TEXT, "lm-eval's name of the answer filter; none for the raw answer"),
            Column("outcome", FLOAT, "score of the item; for perplexities log p per unit, in nats"),
            measure("chance", "expected outcome of a guess; 0 if generated; NULL if not defined"),
            Column("context", TEXT, "what the model read before its answer, examples included"),
            Column("options", pa.list_(TEXT), "the options; NULL if the answer is written", True),
            Column("response", TEXT, "text that the model generated, or the option it chose"),
            Column("target", TEXT, "the right answer"),
            Column("doc_hash", TEXT, "SHA-256 of the item's row; equal items have equal hashes"),
            Column(
                "token_ids",
                IDS,
                "tokens generated, including those that ended it; NULL for multiple choice",
                True,
            ),
            Column("stopped", BOOL, "True if the model ended it; NULL for multiple choice", True),
            Column("n_tokens", INT, "tokens generated; NULL for multiple choice", True),
            measure("repeated_ngram_share", "share of its 4-grams that occurred before"),
            Column("longest_loop", INT, "most tokens in immediate repetitions of a phrase", True),
            measure("distinct_1", "different tokens over all tokens"),
            measure("distinct_2", "different 2-grams over all 2-grams; NULL below 2 tokens"),
        ),
    ),
)


MATCHED_FORMATS: tuple[Table, ...] = (
    Table(
        "matched_samples",
        "One row per (source, item, format): one question, asked in three formats.",
        ("model", "variant"),
        (
            Column("source", TEXT, "squad, gsm8k or humaneval"),
            Column("item", INT, "index of the row in the split, counted from 0"),
            Column("format", TEXT, "retrieval, multiple_choice or generation"),
            Column(
                "correct",
                BOOL,
                "right answer first, F1 of 0.5, equal number, tests passed; NULL if no code is run",
                True,
            ),
            measure(
                "score",
                "1/rank, F1, exact match, or tests passed, from 0 to 1; NULL if no code is run",
            ),
            Column("exact", BOOL, "exact match of the generated answer; squad, gsm8k only", True),
            measure("rank", "rank of the right answer, from 1, mean of ties; ranked formats only"),
            Column("n_candidates", INT, "number of answers ranked; ranked formats only", True),
            measure(
                "margin",
                "right answer minus best wrong one: cosine, or log-likelihood per byte in nats",
            ),
            Column("text", TEXT, "the answer ranked first, or the generated text"),
        ),
    ),
)


RETRIEVAL: tuple[Table, ...] = (
    Table(
        "retrieval_scores",
        "One row per (retrieval_set, metric): the mean over the set's queries.",
        ("model", "variant"),
        (
            Column("retrieval_set", TEXT, "name in config"),
            Column("metric", TEXT, "ndcg_at_10 or recall_at_100, as trec_eval defines them"),
            Column("score", FLOAT, "mean over queries, between 0 and 1"),
            Column("n_queries", INT, "number of queries in the mean"),
            Column("n_documents", INT, "number of documents searched"),
            Column("n_cut", INT, "number of queries and documents that were cut at max_length"),
            clocked(
                "seconds",
                FLOAT,
                "duration of embedding and search, without embeddings kept from before",
            ),
            Column("pooling", TEXT, "mean or last_token"),
        ),
        needs_lm_head=False,
    ),
    Table(
        "retrieval_samples",
        "One row per (retrieval_set, query).",
        ("model", "variant"),
        (
            Column("retrieval_set", TEXT, "name in config"),
            Column("query", TEXT, "id of the query in the set"),
            Column("ndcg_at_10", FLOAT, "ndcg_cut_10 of trec_eval, between 0 and 1"),
            Column("recall_at_100", FLOAT, "share of relevant documents among the first 100"),
            measure(
                "rank",
                "rank of the best relevant document, from 1, mean of ties; NULL if there is none",
            ),
            Column("best_score", FLOAT, "dot product of the query with the document ranked first"),
            Column("n_cut", INT, "cut texts among the query and its relevant documents"),
        ),
        needs_lm_head=False,
    ),
)
