"""Bring the documents of one corpus into the store, as many as asked for, in its own order."""

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

from prunescope import progress
from prunescope.inputs import documents, sources
from prunescope.progress import LOG, JobError
from prunescope.storage import store

ROWS_PER_GROUP = 2000


def fetch_corpus(
    source: Mapping[str, str],
    kind: str,
    n_documents: int | None,
    documents_file: str,
    made_by: Mapping[str, object],
    text_column: str = "text",
) -> None:
    """Write table `documents` of one corpus. Raises JobError if the source holds none.

    What is left out (rows without text, texts shorter than `documents.MIN_BYTES`) is counted in the
    log and named in a warning.

    Parameters
    ----------
    source : where its rows are. kind : the format of the rows, a key of `documents.READERS`.
    n_documents : how many are taken; None takes all.
    documents_file : what is written. made_by : the provenance that the table carries.
    text_column : column of format `text` that holds the document.
    """
    n_written = 0
    left_out: documents.LeftOut = Counter()
    with (
        sources.scratch(beside=documents_file) as scratch,
        store.writer(documents_file, "documents", made_by) as file,
    ):
        rows = sources.rows(source, scratch)
        found = itertools.islice(documents.READERS[kind](rows, left_out, text_column), n_documents)
        for batch in store.batches(progress.track(found, "documents", n_documents), ROWS_PER_GROUP):
            file.write(documents.as_rows(batch))
            n_written += len(batch)
        if n_written == 0:
            raise JobError(
                f"{sources.describe(source)} holds no document of {documents.MIN_BYTES} bytes of "
                f"text or more{documents.in_words(left_out)}. Choose another member, config or "
                "split."
            )
    LOG.info("%d documents", n_written)
    if left_out:
        progress.warn(
            f"{sources.describe(source)}: {n_written} documents{documents.in_words(left_out)}."
        )


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("fetch_corpus", snakemake.log[0]):
        corpus = snakemake.params.corpus
        fetch_corpus(
            source=corpus["source"],
            kind=corpus["format"],
            n_documents=corpus.get("n_documents"),
            documents_file=snakemake.output.documents,
            made_by=store.provenance("fetch_corpus", corpus),
            text_column=corpus.get("text_column", "text"),
        )
