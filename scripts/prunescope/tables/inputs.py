"""Tables of the stage `inputs`: documents of corpora, and retrieval sets."""

from prunescope.tables.table import INT, TEXT, Column, Table

TABLES: tuple[Table, ...] = (
    Table(
        "documents",
        "One row per document of a corpus, in the corpus's order.",
        ("corpus",),
        (
            Column("document_id", TEXT, "URL of the text, or the file and line it was read from"),
            Column("text", TEXT, "the document"),
        ),
    ),
    Table(
        "retrieval_corpus",
        "One row per document of a retrieval set, in BEIR's layout.",
        ("retrieval_set",),
        (
            Column("_id", TEXT, "document id"),
            Column("title", TEXT, "its title, empty if it has none"),
            Column("text", TEXT, "its text"),
        ),
    ),
    Table(
        "retrieval_queries",
        "One row per query of a retrieval set that has judgements.",
        ("retrieval_set",),
        (
            Column("_id", TEXT, "query id"),
            Column("text", TEXT, "the query, before any instruction"),
        ),
    ),
    Table(
        "retrieval_qrels",
        "One row per judged pair of query and document.",
        ("retrieval_set",),
        (
            Column("query-id", TEXT, "a query of the set"),
            Column("corpus-id", TEXT, "a document of the set"),
            Column("score", INT, "grade of relevance; above 0 is relevant"),
        ),
    ),
)
