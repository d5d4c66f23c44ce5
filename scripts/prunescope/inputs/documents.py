"""Convert rows of a source to the documents of a corpus, and count the rows that are left out."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from prunescope.inputs import row_files, sources
from prunescope.progress import JobError
from prunescope.tables.schemas import TABLES

MIN_BYTES = 16
"""Least length of a document in UTF-8; shorter texts are headings and fragments.

Bytes measure the amount of text in any script: six Chinese characters are 18 bytes.
"""

Document = tuple[str, str]
"""document_id and text."""


LeftOut = Counter[str]
"""Number of rows that are left out, by reason."""


def in_words(left_out: LeftOut) -> str:
    """`, 3 rows left out (2 without text, 1 shorter than 16 bytes)`; empty if there are none."""
    if not left_out:
        return ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return f", {left_out.total()} rows left out ({reasons})"


def as_rows(documents: Sequence[Document]) -> pa.Table:
    """Rows of table `documents`."""
    ids, whole = zip(*documents, strict=True)
    return pa.table({"document_id": ids, "text": whole}, schema=TABLES["documents"].schema)


def texts(
    rows: Iterable[sources.Row], left_out: LeftOut, text_column: str = "text"
) -> Iterator[Document]:
    """One document per row with a text; its id is the url of the row, or else its location.

    A row whose text is null is left out and counted. Raises JobError for a row without the column,
    or with something other than text in it.

    Parameters
    ----------
    rows : locations and columns of the rows.
    left_out : counts the rows that are left out, by reason.
    text_column : the column with the text.
    """
    for place, row in rows:
        if text_column not in row:
            raise JobError(
                f"format `text` reads a column `{text_column}`, but {row_files.named(place)} has "
                f"{', '.join(row)}. Set `text_column` of the corpus, or choose another config or "
                "split."
            )
        text = row[text_column]
        if text is None:
            left_out["without text"] += 1
            continue
        _check_text(text, place, text_column)
        if _long_enough(text, left_out):
            url = row.get("url")
            yield url if isinstance(url, str) and row_files.is_unicode(url) else place, text


def _check_text(text: object, place: str, column: str) -> None:
    if not isinstance(text, str) or not row_files.is_unicode(text):
        raise JobError(
            f"{row_files.named(place)}: column `{column}` holds {row_files.kind_of(text)}, not "
            "text. Mend the row, or choose another column."
        )


def _long_enough(text: str, left_out: LeftOut) -> bool:
    """Whether a text is a document; one that is not is counted."""
    if len(text.strip().encode()) >= MIN_BYTES:
        return True
    left_out[f"shorter than {MIN_BYTES} bytes" if text.strip() else "without text"] += 1
    return False


def passages(
    rows: Iterable[sources.Row], left_out: LeftOut, text_column: str = "text"
) -> Iterator[Document]:
    """One document per complete reading passage, even if several questions are about it.

    The id consists of the member and the id of the passage in it, so that an evaluation on the same
    file can leave out the calibration text. The word to be guessed, which is missing in `query` of
    LAMBADA, is appended.

    Parameters
    ----------
    rows : locations and columns of the rows.
    left_out : counts the rows that are left out, by reason.
    text_column : not used by this format.
    """
    seen: set[str] = set()
    for place, row in rows:
        passage_id, text = passage(place, row.get("doc", row))
        _check_text(text, place, "story or query")
        if text not in seen and _long_enough(text, left_out):
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
        f"format `passages` reads CoQA (story) or LAMBADA (query, choices), but "
        f"{row_files.named(place)} has {', '.join(row)}. Correct `member` or `format` in config."
    )


READERS: Mapping[str, Callable[[Iterable[sources.Row], LeftOut, str], Iterator[Document]]] = {
    "text": texts,
    "passages": passages,
}
"""Reader of each `format` of a corpus."""
