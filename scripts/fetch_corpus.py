"""Bring the documents of one corpus into the store, as many as asked for, in its own order."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from prunescope import progress, sources, store
from prunescope.progress import LOG, JobError
from prunescope.schemas import TABLES

MIN_CHARACTERS = 16
"""Shorter texts are headings and leftovers, not documents."""

ROWS_PER_GROUP = 2000

Document = tuple[str, str]
"""document_id and text."""


def fetch_corpus(
    source: Mapping[str, str],
    kind: str,
    n_documents: int | None,
    documents_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write table `documents` of one corpus. Raises JobError if the source holds none."""
    n_written = 0
    with (
        sources.scratch(beside=documents_file) as scratch,
        store.writer(documents_file, "documents", made_by) as file,
    ):
        rows = sources.rows(source, scratch)
        found = itertools.islice(READERS[kind](rows), n_documents)
        for batch in store.batches(progress.track(found, "documents", n_documents), ROWS_PER_GROUP):
            file.write(as_rows(batch))
            n_written += len(batch)
        if n_written == 0:
            raise JobError(
                f"{sources.describe(source)} holds no document of {MIN_CHARACTERS} characters or "
                "more. Choose another member, config or split."
            )
    LOG.info("%d documents", n_written)


def as_rows(documents: Sequence[Document]) -> pa.Table:
    """Rows of table `documents`."""
    ids, whole = zip(*documents, strict=True)
    return pa.table({"document_id": ids, "text": whole}, schema=TABLES["documents"].schema)


def texts(rows: Iterable[sources.Row]) -> Iterator[Document]:
    """One document per row with a `text` column; its id is the row's url, or where it stands."""
    for place, row in rows:
        text = row.get("text")
        if not isinstance(text, str):
            raise JobError(
                f"format `text` reads a column `text`, but {place} has {', '.join(row)}. "
                "Choose another config or split of the corpus."
            )
        if len(text.strip()) >= MIN_CHARACTERS:
            yield str(row.get("url") or place), text


def passages(rows: Iterable[sources.Row]) -> Iterator[Document]:
    """One document per reading passage, whole, each once though it is asked about many times.

    The id is the member and the passage's own id there, so that an evaluation on the same file can
    leave out what calibration has seen. LAMBADA's `query` lacks the word to be guessed: it is put
    back.
    """
    seen: set[str] = set()
    for place, row in rows:
        passage_id, text = passage(place, row.get("doc", row))
        if text not in seen and len(text.strip()) >= MIN_CHARACTERS:
            seen.add(text)
            yield passage_id, text


def passage(place: str, row: Mapping[str, Any]) -> Document:
    """Id and text of the passage that one question is about."""
    member = place.rpartition("#")[0]
    if "story" in row:  # CoQA: one row per question, `<story>_turn<number>`
        return f"{member}#{re.sub(r'_turn[0-9]+$', '', str(row['id']))}", row["story"]
    if "query" in row and row.get("choices"):  # LAMBADA
        return f"{member}#{row['id']}", f"{row['query']} {row['choices'][0]}"
    raise JobError(
        f"format `passages` reads CoQA (story) or LAMBADA (query, choices), but {place} has "
        f"{', '.join(row)}. Correct `member` or `format` in config."
    )


READERS: Mapping[str, Callable[[Iterable[sources.Row]], Iterator[Document]]] = {
    "text": texts,
    "passages": passages,
}
"""What a corpus's `format` may be."""


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
        )
