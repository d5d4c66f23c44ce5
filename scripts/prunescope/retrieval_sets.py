"""Retrieval sets in BEIR's layout: documents, queries, and which answer which.

BEIR's own folders and hub repositories are read as they are; SQuAD's questions become queries for
the paragraphs they were asked about.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunescope import sources, squad
from prunescope.progress import JobError

Rows = Iterable[Mapping[str, Any]]

_FILES = {"corpus": "corpus", "queries": "queries", "qrels": "qrels/{split}"}
"""Where a folder in BEIR's layout keeps each part, without suffix."""

_SUFFIXES = (*sources.ROW_READERS, ".tsv")


@dataclass(frozen=True)
class RetrievalSet:
    """Rows of each part; the documents come as a stream, for they may be millions.

    Attributes
    ----------
    documents : `_id`, `title`, `text`. queries : `_id`, `text`. qrels : `query-id`, `corpus-id`,
        `score`.
    """

    documents: Rows
    queries: Sequence[Mapping[str, str]]
    qrels: Sequence[Mapping[str, Any]]


def beir(entry: Mapping[str, Any], scratch: Path) -> RetrievalSet:
    """A set of BEIR: the hub's configurations `corpus`, `queries` and the judgements, or files.

    The judgements are those of the source's split, `test` unless it names another; `qrels` says
    where they are, if not beside the documents.
    """
    judged = entry.get("qrels", entry["source"])
    split = judged.get("split", "test")

    def part(name: str, source: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        chosen = _part(name, source, split, of_its_own=name == "qrels" and "qrels" in entry)
        return sources.rows(chosen, scratch / name)

    qrels = [
        {
            "query-id": str(_value(row, "query-id", place)),
            "corpus-id": str(_value(row, "corpus-id", place)),
            "score": int(float(_value(row, "score", place))),
        }
        for place, row in part("qrels", judged)
    ]
    queries = [
        {"_id": str(_value(row, "_id", place)), "text": str(_value(row, "text", place))}
        for place, row in part("queries", entry["source"])
    ]
    documents = (
        {
            "_id": str(_value(row, "_id", place)),
            "title": str(row.get("title") or ""),
            "text": str(_value(row, "text", place)),
        }
        for place, row in part("corpus", entry["source"])
    )
    return RetrievalSet(documents, queries, qrels)


def _part(name: str, source: Mapping[str, str], split: str, of_its_own: bool) -> Mapping[str, str]:
    """The source of one part: a file of a folder, or a configuration of a repository."""
    if source["from"] == "path":
        folder = Path(source["path"]).expanduser()
        wanted = folder / _FILES[name].format(split=split)
        files = [wanted.with_suffix(suffix) for suffix in _SUFFIXES]
        found = [file for file in files if file.is_file()]
        if not found:
            raise JobError(
                f"{folder} has no {wanted.relative_to(folder)} with one of the suffixes "
                f"{', '.join(_SUFFIXES)}. Use a folder in BEIR's layout, or another "
                "split."
            )
        return {"from": "path", "path": str(found[0])}
    plain = {key: value for key, value in source.items() if key not in ("config", "split")}
    if name == "qrels" and of_its_own:
        return {**plain, "split": split}
    if name == "qrels":
        return {**plain, "config": "default", "split": split}
    return {**plain, "config": name, "split": name}


def _value(row: Mapping[str, Any], column: str, place: str) -> Any:
    if row.get(column) is None:
        raise JobError(
            f"format `beir` reads a column `{column}`, but {place} has {', '.join(row)}. Correct "
            "the source in config."
        )
    return row[column]


def squad_paragraphs(entry: Mapping[str, Any], scratch: Path) -> RetrievalSet:
    """SQuAD: every paragraph once, in order of appearance, and each question's own paragraph."""
    found = list(squad.questions(sources.rows(entry["source"], scratch)))
    ids = {text: str(number) for number, text in enumerate(dict.fromkeys(q.context for q in found))}
    titles = {q.context: q.title.replace("_", " ") for q in found}
    return RetrievalSet(
        [{"_id": ids[text], "title": titles[text], "text": text} for text in ids],
        [{"_id": question.id, "text": question.question.strip()} for question in found],
        [{"query-id": q.id, "corpus-id": ids[q.context], "score": 1} for q in found],
    )


READERS: Mapping[str, Callable[[Mapping[str, Any], Path], RetrievalSet]] = {
    "beir": beir,
    "squad": squad_paragraphs,
}
"""What a set's `format` may be."""


def limited(
    found: RetrievalSet, n_queries: int | None = None, n_documents: int | None = None
) -> RetrievalSet:
    """The first queries that were judged, and their relevant documents among the first others.

    Raises
    ------
    JobError
        if no query was judged, or their relevant documents alone are more than `n_documents`.
    """
    judged = {row["query-id"] for row in found.qrels}
    queries = [query for query in found.queries if query["_id"] in judged][:n_queries]
    if not queries:
        raise JobError(
            f"none of the {len(found.queries)} queries is judged. Choose another split of the "
            "judgements."
        )
    asked = {query["_id"] for query in queries}
    qrels = [row for row in found.qrels if row["query-id"] in asked]
    relevant = {row["corpus-id"] for row in qrels if row["score"] > 0}
    if n_documents is not None and n_documents < len(relevant):
        raise JobError(
            f"n_documents is {n_documents}, but {len(relevant)} documents are relevant to the "
            f"{len(queries)} queries. Set more n_documents, or fewer n_queries."
        )
    return RetrievalSet(_with_relevant(found.documents, relevant, n_documents), queries, qrels)


def _with_relevant(documents: Rows, relevant: set[str], n_documents: int | None) -> Rows:
    room = None if n_documents is None else n_documents - len(relevant)
    for document in documents:
        if document["_id"] in relevant:
            yield document
        elif room is None or room > 0:
            room = None if room is None else room - 1
            yield document
