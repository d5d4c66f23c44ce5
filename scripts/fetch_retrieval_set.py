"""Fetch one retrieval set into the store: documents, queries and judgements, as BEIR has them."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.inputs import retrieval_sets, sources
from prunescope.progress import LOG, JobError
from prunescope.storage import store
from prunescope.tables.schemas import TABLES

ROWS_PER_GROUP = 10000


def fetch_retrieval_set(
    entry: Mapping[str, Any],
    corpus_file: str,
    queries_file: str,
    qrels_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write tables `retrieval_corpus`, `retrieval_queries` and `retrieval_qrels` of one set.

    Parameters
    ----------
    entry : the entry of the retrieval set in config.
    corpus_file, queries_file, qrels_file : the files to write, one per table.
    made_by : provenance, written into the metadata of the files.

    Raises
    ------
    JobError
        if the source cannot be read, holds none of the relevant documents, or holds only empty
        documents.
    """
    with sources.scratch(beside=corpus_file) as scratch:
        complete_set = retrieval_sets.READERS[entry["format"]](entry, scratch)
        selected = retrieval_sets.limited(
            complete_set, entry.get("n_queries"), entry.get("n_documents")
        )
        relevant = {row["corpus-id"] for row in selected.qrels if row["score"] > 0}
        if not relevant:
            raise JobError(
                f"{sources.describe(entry['source'])}: none of the {len(selected.qrels)} "
                "judgements says that a document is relevant, by a grade above 0. Choose other "
                "`qrels`, or another split of them."
            )
        n_documents, n_empty, relevant_found = 0, 0, set()
        with store.writer(corpus_file, "retrieval_corpus", made_by) as file:
            for batch in store.batches(
                progress.track(selected.documents, "documents"), ROWS_PER_GROUP
            ):
                file.write(pa.Table.from_pylist(batch, TABLES["retrieval_corpus"].schema))
                n_documents += len(batch)
                n_empty += sum(not f"{row['title']}{row['text']}".strip() for row in batch)
                relevant_found.update(relevant.intersection(row["_id"] for row in batch))
            if not relevant_found:
                raise JobError(
                    f"{sources.describe(entry['source'])}: none of the {len(relevant)} relevant "
                    f"documents is among the {n_documents}. The judgements belong to another set: "
                    "correct `qrels`."
                )
            if n_empty == n_documents:
                raise JobError(
                    f"{sources.describe(entry['source'])}: all {n_documents} documents are empty, "
                    "without title and text. Correct the source in config."
                )
    for file_name, table, rows in (
        (queries_file, "retrieval_queries", selected.queries),
        (qrels_file, "retrieval_qrels", selected.qrels),
    ):
        store.write(file_name, pa.Table.from_pylist(rows, TABLES[table].schema), table, made_by)
    LOG.info("%d documents, %d queries", n_documents, len(selected.queries))
    if len(relevant_found) < len(relevant):
        progress.warn(
            f"{sources.describe(entry['source'])}: {len(relevant) - len(relevant_found)} of "
            f"{len(relevant)} relevant documents are missing, for instance "
            f"{min(relevant - relevant_found)!r}; they count as not found."
        )
    if n_empty:
        progress.warn(
            f"{sources.describe(entry['source'])}: {n_empty} of {n_documents} documents are empty, "
            "without title and text; they keep their ids."
        )


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("fetch_retrieval_set", snakemake.log[0]):
        settings = snakemake.params.entry
        fetch_retrieval_set(
            entry=settings,
            corpus_file=snakemake.output.corpus,
            queries_file=snakemake.output.queries,
            qrels_file=snakemake.output.qrels,
            made_by=store.provenance("fetch_retrieval_set", settings),
        )
