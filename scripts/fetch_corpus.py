"""Fetch the documents of one corpus into the store, up to a given number, in their order."""

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

    Rows without text and texts shorter than `documents.MIN_BYTES` are left out, counted in the log
    and reported in a warning.

    Parameters
    ----------
    source : where the rows of the corpus are, as in config.
    kind : the format of the rows, a key of `documents.READERS`.
    n_documents : the greatest number of documents to take; None takes all.
    documents_file : the file to write.
    made_by : provenance, written into the metadata of the file.
    text_column : for format `text`, the column with the document.
    """
    n_written = 0
    left_out: documents.LeftOut = Counter()
    with (
        sources.scratch(beside=documents_file) as scratch,
        store.writer(documents_file, "documents", made_by) as file,
    ):
        rows = sources.rows(source, scratch)
        corpus_documents = documents.READERS[kind](rows, left_out, text_column)
        taken = itertools.islice(corpus_documents, n_documents)
        for batch in store.batches(progress.track(taken, "documents", n_documents), ROWS_PER_GROUP):
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
