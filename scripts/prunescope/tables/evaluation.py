"""Tables of the stage `evaluation`: benchmark tasks, matched formats, retrieval."""

from prunescope.tables.table import BOOL, FLOAT, IDS, INT, TEXT, Column, Table, clocked, measure

BENCHMARKS: tuple[Table, ...] = (
    Table(
        "task_scores",
        "One row per (task, metric, filter): lm-eval's score over all items of the task.",
        ("model", "variant", "suite"),
        (
            Column("task", TEXT, "name in config"),
            Column("metric", TEXT, "lm-eval's name of the metric"),
            Column("filter", TEXT, "lm-eval's name of how the answer was read; none: as it is"),
            Column("headline", BOOL, "True of the one metric config names for the task"),
            Column("family", TEXT, "non_generative or generative"),
            Column("n_shot", INT, "solved examples before each question"),
            Column("n_items", INT, "items scored"),
            Column("n_cut", INT, "those whose context was cut to fit the model's positions"),
            measure("score", "mean over items, or a perplexity"),
            measure("standard_error", "of the score, as lm-eval estimates it"),
            Column("higher_is_better", BOOL, "direction of the metric"),
            clocked("seconds", FLOAT, "time of the whole task, loading of the model left out"),
        ),
    ),
    Table(
        "task_samples",
        "One row per (task, subtask, item, metric, filter): what became of every item.",
        ("model", "variant", "suite"),
        (
            Column("task", TEXT, "name in config"),
            Column("subtask", TEXT, "lm-eval's task within a group; else the task"),
            Column("item", INT, "place among the rows of the split, counted from 0"),
            Column("metric", TEXT, "lm-eval's name of the metric"),
            Column("filter", TEXT, "lm-eval's name of how the answer was read; none: as it is"),
            Column("outcome", FLOAT, "the item's score; of perplexities, log p a unit, in nats"),
            Column("response", TEXT, "what the model wrote, or the option it chose"),
            Column("target", TEXT, "the right answer"),
            Column("doc_hash", TEXT, "sha256 of the item's row: equal items have equal hashes"),
            Column("token_ids", IDS, "what it wrote, with what ended it; NULL: it chose", True),
            Column("stopped", BOOL, "True where it ended by itself; NULL: it chose", True),
            Column("n_tokens", INT, "tokens it wrote; NULL: it chose", True),
            measure("repeated_ngram_share", "share of its 4-grams that occurred before"),
            Column("longest_loop", INT, "most tokens in immediate repetitions of a phrase", True),
            measure("distinct_1", "different tokens over tokens"),
            measure("distinct_2", "different 2-grams over 2-grams; NULL below 2 tokens"),
        ),
    ),
    Table(
        "matched_samples",
        "One row per (source, item, format): one question, asked in three formats.",
        ("model", "variant"),
        (
            Column("source", TEXT, "squad, gsm8k or humaneval"),
            Column("item", INT, "place among the rows of the split, counted from 0"),
            Column("format", TEXT, "retrieval, multiple_choice or generation"),
            Column("correct", BOOL, "right answer first, F1 of 0.5, number, tests; or NULL", True),
            measure("score", "0 to 1: 1/rank, or F1, exact, passed; NULL where no code is run"),
            Column("exact", BOOL, "exact match of what is generated, squad and gsm8k only", True),
            measure("rank", "of the right answer, 1 is first, ties share a mean; ranked only"),
            Column("n_candidates", INT, "answers it was ranked among; ranked only", True),
            measure("margin", "right minus best wrong: cosine, or log p a byte in nats"),
            Column("text", TEXT, "the answer ranked first, or what the model wrote"),
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
            Column("metric", TEXT, "ndcg_at_10 or recall_at_100, trec_eval's"),
            Column("score", FLOAT, "between 0 and 1"),
            Column("n_queries", INT, "queries averaged over"),
            Column("n_documents", INT, "documents searched"),
            Column("n_cut", INT, "queries and documents longer than max_length: rest not read"),
            clocked(
                "seconds", FLOAT, "to embed the set and search it, less what was kept from before"
            ),
            Column("pooling", TEXT, "mean or last_token"),
        ),
    ),
    Table(
        "retrieval_samples",
        "One row per (retrieval_set, query).",
        ("model", "variant"),
        (
            Column("retrieval_set", TEXT, "name in config"),
            Column("query", TEXT, "query id of the set"),
            Column("ndcg_at_10", FLOAT, "trec_eval's ndcg_cut_10, between 0 and 1"),
            Column("recall_at_100", FLOAT, "share of its relevant documents among the first 100"),
            measure("rank", "of the best relevant document, 1 = first, ties share; NULL: has none"),
            Column("best_score", FLOAT, "dot product with the document found first"),
            Column("n_cut", INT, "of the query and its relevant documents, those that were cut"),
        ),
    ),
)
