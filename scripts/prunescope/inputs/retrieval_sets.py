"""Retrieval sets in BEIR's layout: documents, queries, and judgements of their relevance.

BEIR's own folders and hub repositories are read as they are. A SQuAD question becomes a query whose
relevant document is the paragraph that the question is about.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunescope.inputs import row_files, sources, squad
from prunescope.progress import LOG, JobError, warn

Rows = Iterable[Mapping[str, Any]]

_FILE_NAMES = {"corpus": "corpus", "queries": "queries", "qrels": "qrels/{split}"}
"""File of each part in a folder in BEIR's layout, without its suffix."""

_SUFFIXES = tuple(suffix for suffix in row_files.READERS if suffix != ".txt")
_PACKING_SUFFIXES = ("", ".gz", ".bz2", ".xz")

_JUDGEMENT_SUFFIXES = (".tsv", ".txt", ".qrels", ".qrel", ".trec")
"""Suffixes of judgements as lines of text, with BEIR's three columns or TREC's four."""

_COLUMN_NAMES = {
    "query-id": ("query-id", "query_id", "queryid", "qid", "query", "topic", "topicid"),
    "corpus-id": (
        *("corpus-id", "corpus_id", "docid", "doc_id", "doc-id", "document_id", "document-id"),
        *("docno", "did", "pid", "passage_id", "corpusid"),
    ),
    "score": ("score", "relevance", "rel", "grade", "label", "judgment", "judgement"),
}
"""Names that the header of a file of judgements may use for BEIR's three columns."""

_TEXT_COLUMNS = ("_id", "title", "text", "query-id", "corpus-id", "score")
"""The columns that are read, none of whose values may be guessed to be of another type."""

HIGHEST_GRADE = 1000
"""The highest grade accepted. trec_eval keeps a counter per grade, so a huge one fills memory."""


@dataclass(frozen=True)
class RetrievalSet:
    """Rows of the three parts of a retrieval set.

    Attributes
    ----------
    documents : rows of `_id`, `title`, `text`; a stream, because there may be millions.
    queries : rows of `_id`, `text`.
    qrels : judgements, rows of `query-id`, `corpus-id`, `score`.
    """

    documents: Rows
    queries: Sequence[Mapping[str, str]]
    qrels: Sequence[Mapping[str, Any]]


def beir(entry: Mapping[str, Any], scratch: Path) -> RetrievalSet:
    """Read a set in BEIR's layout from a hub repository or a local folder.

    On the hub, `corpus` and `queries` are configurations of the repository. The judgements are
    those of the split that their source names, by default `test`; the entry's `qrels` is their
    source if they are not kept with the documents.
    """
    judgement_source = entry.get("qrels", entry["source"])
    split = judgement_source.get("split", "test")

    def read_part(name: str, source: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        has_own_source = name == "qrels" and "qrels" in entry
        part_source = _source_of_part(name, source, split, has_own_source)
        return sources.rows(part_source, scratch / name, _TEXT_COLUMNS)

    queries = list(_queries(read_part("queries", entry["source"])))
    file = _judgement_file(judgement_source, split)
    judgements = (
        _judgements_of_lines(*file)
        if file
        else _judgements_of_rows(read_part("qrels", judgement_source))
    )
    return RetrievalSet(
        _documents(read_part("corpus", entry["source"])),
        queries,
        list(_deduplicate_judgements(judgements)),
    )


def _queries(rows: Iterable[sources.Row]) -> Iterator[Mapping[str, str]]:
    """`_id` and `text` of every query. A text may be empty here; `limited` checks the ones used."""
    seen: dict[str, str] = {}
    for location, row in rows:
        query_id = _id(row, "_id", location)
        _refuse_repeated_id(seen, query_id, location, "query")
        yield {"_id": query_id, "text": _text(row, "text", location)}


def _documents(rows: Iterable[sources.Row]) -> Iterator[Mapping[str, str]]:
    """`_id`, `title` and `text` of every document; a null or missing title becomes an empty one."""
    seen: dict[str, str] = {}
    for location, row in rows:
        document_id = _id(row, "_id", location)
        _refuse_repeated_id(seen, document_id, location, "document")
        title = _text(row, "title", location) if "title" in row else ""
        yield {"_id": document_id, "title": title, "text": _text(row, "text", location)}


def _refuse_repeated_id(seen: dict[str, str], row_id: str, location: str, noun: str) -> None:
    """Raise JobError for an id that an earlier row has: a judgement could refer to either row."""
    if row_id in seen:
        raise JobError(
            f"{row_files.named(location)} has the {noun} id {row_id!r} of "
            f"{row_files.named(seen[row_id])}. Judgements could refer to either: give every {noun} "
            "its own id."
        )
    seen[row_id] = location


def _judgement_file(source: Mapping[str, str], split: str) -> tuple[Path, str] | None:
    """The file of judgements and its name for messages, if it consists of lines of text."""
    if source["from"] != "path":
        return None
    root = Path(source["path"]).expanduser()
    usual_file = root / _FILE_NAMES["qrels"].format(split=split)
    names = [
        f"{usual_file.name}{suffix}{packing}"
        for suffix in _JUDGEMENT_SUFFIXES
        for packing in _PACKING_SUFFIXES
    ]
    files = [root] if root.is_file() else [usual_file.with_name(name) for name in names]
    judgement_files = [
        file
        for file in files
        if file.is_file() and row_files.suffix_of(file) in _JUDGEMENT_SUFFIXES
    ]
    return (judgement_files[0], judgement_files[0].name) if judgement_files else None


def _judgements_of_lines(file: Path, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Judgements of a file of lines, with the three fields of BEIR or the four of TREC.

    BEIR's fields are query, document and grade; TREC has an unused field after the query. Fields
    are separated by tabs, or by blanks in a line without tabs. A header may give another order.
    """
    columns: Mapping[str, int] | None = None
    for number, line in enumerate(row_files.lines(file, name)):
        if not line.strip():
            continue
        fields = line.strip("\r\n").split("\t") if "\t" in line else line.split()
        location = f"{name}#{number}"
        if columns is None:
            columns, is_header = _judgement_columns(fields, location)
            n_fields = len(fields)
            if is_header:
                continue
        if len(fields) != n_fields:
            raise JobError(
                f"{row_files.named(location)} has {len(fields)} fields, but the rows before it "
                f"have {n_fields}: {line[:80]!r}. Correct the row."
            )
        yield location, {column: fields[index].strip() for column, index in columns.items()}


def _judgement_columns(fields: Sequence[str], location: str) -> tuple[Mapping[str, int], bool]:
    """Index of each column according to the first line, and whether that line is a header."""
    if len(fields) in (3, 4) and _number(fields[-1]) is not None:
        return {"query-id": 0, "corpus-id": len(fields) - 2, "score": len(fields) - 1}, False
    lower = [field.strip().lower() for field in fields]
    columns = {
        column: next((lower.index(name) for name in names if name in lower), -1)
        for column, names in _COLUMN_NAMES.items()
    }
    if -1 in columns.values():
        missing = next(column for column, index in columns.items() if index == -1)
        raise JobError(
            f"format `beir` reads judgements with a column `{missing}`, or TREC's four columns, "
            f"but {row_files.named(location)} has {', '.join(fields)[:100]}. Correct `qrels` in "
            "config."
        )
    return columns, True


def _judgements_of_rows(rows: Iterable[sources.Row]) -> Iterator[sources.Row]:
    for location, row in rows:
        yield (
            location,
            {
                "query-id": _id(row, "query-id", location),
                "corpus-id": _id(row, "corpus-id", location),
                "score": _value(row, "score", location),
            },
        )


def _deduplicate_judgements(rows: Iterable[sources.Row]) -> Iterator[Mapping[str, Any]]:
    """Judgements with their grades as integers; a repeated judgement counts once.

    Raises JobError for a grade that is not a whole number, and for a pair with two grades.
    """
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    for location, row in rows:
        grade = _grade(row["score"], location)
        pair = (row["query-id"], row["corpus-id"])
        first_grade, first_location = seen.setdefault(pair, (grade, location))
        if first_grade != grade:
            raise JobError(
                f"{row_files.named(location)} judges document {pair[1]!r} for query {pair[0]!r} "
                f"with {grade}, but {row_files.named(first_location)} with {first_grade}. Keep one "
                "of the two judgements."
            )
        if first_location == location:
            yield {"query-id": pair[0], "corpus-id": pair[1], "score": grade}


def _grade(value: Any, location: str) -> int:
    """A grade as trec_eval reads it: a whole number, above 0 if the document is relevant."""
    number = None if isinstance(value, bool) else _number(value)
    if number is None or not number.is_integer() or abs(number) > HIGHEST_GRADE:
        raise JobError(
            f"{row_files.named(location)} has the judgement {value!r}, but trec_eval computes nDCG "
            f"and recall from whole grades up to {HIGHEST_GRADE}, with 0 for not relevant. Scale "
            "or round the judgements as you see fit."
        )
    return int(number)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _source_of_part(
    name: str, source: Mapping[str, str], split: str, has_own_source: bool
) -> Mapping[str, str]:
    """The source of one part: a file in a local folder, or a configuration of a repository.

    Parameters
    ----------
    name : the part: `corpus`, `queries` or `qrels`.
    source : the source of the set or, if they have their own, of the judgements.
    split : split of the judgements.
    has_own_source : whether these are judgements with their own source.
    """
    if source["from"] == "path":
        folder = Path(source["path"]).expanduser()
        if folder.is_file():
            return source
        usual_file = folder / _FILE_NAMES[name].format(split=split)
        files = [
            usual_file.with_name(f"{usual_file.name}{suffix}{packing}")
            for suffix in _SUFFIXES
            for packing in _PACKING_SUFFIXES
        ]
        present_files = [file for file in files if file.is_file()]
        if not present_files:
            raise JobError(
                f"{folder} has no {usual_file.relative_to(folder)} with one of the suffixes "
                f"{', '.join(_SUFFIXES)}. Use a folder in BEIR's layout, or another split."
            )
        return {"from": "path", "path": str(present_files[0])}
    repository = {key: value for key, value in source.items() if key not in ("config", "split")}
    if name == "qrels" and has_own_source:
        return {**repository, "split": split}
    if name == "qrels":
        return {**repository, "config": "default", "split": split}
    return {**repository, "config": name, "split": name}


def _value(row: Mapping[str, Any], column: str, location: str) -> Any:
    if row.get(column) is None:
        raise JobError(
            f"format `beir` reads a column `{column}`, but {row_files.named(location)} has "
            f"{', '.join(row)}{' with null in it' if column in row else ''}. Correct the source in "
            "config."
        )
    return row[column]


def _id(row: Mapping[str, Any], column: str, location: str) -> str:
    """An id as text: `007` stays as it is, the number 7 becomes `7`.

    Raises JobError for any value that is neither text nor a whole number.
    """
    value = _value(row, column, location)
    text = row_files.plain_text(value)
    if text is None or not text.strip():
        raise JobError(
            f"{row_files.named(location)}: `{column}` holds "
            f"{'an empty text' if text is not None else row_files.kind_of(value)}, which is not an "
            "id. Write ids as texts or whole numbers, and use `from: path`, which guesses no types."
        )
    return text


def _text(row: Mapping[str, Any], column: str, location: str) -> str:
    """A text; null becomes an empty one.

    Raises JobError if the row lacks the column or the column does not hold text.
    """
    if column not in row:
        raise JobError(
            f"format `beir` reads a column `{column}`, but {row_files.named(location)} has "
            f"{', '.join(row)}. Correct the source in config."
        )
    text = "" if row[column] is None else row_files.plain_text(row[column])
    if text is None:
        raise JobError(
            f"{row_files.named(location)}: `{column}` holds {row_files.kind_of(row[column])}, not "
            "text. Correct the row."
        )
    return text


def squad_paragraphs(entry: Mapping[str, Any], scratch: Path) -> RetrievalSet:
    """Turn SQuAD into a retrieval set.

    The documents are the distinct paragraphs in order of appearance; the only document relevant to
    a question is its own paragraph.
    """
    questions = list(squad.questions(sources.rows(entry["source"], scratch)))
    ids = {
        text: str(number) for number, text in enumerate(dict.fromkeys(q.context for q in questions))
    }
    titles = {q.context: q.title.replace("_", " ") for q in questions}
    return RetrievalSet(
        [{"_id": ids[text], "title": titles[text], "text": text} for text in ids],
        [{"_id": question.id, "text": question.question.strip()} for question in questions],
        [{"query-id": q.id, "corpus-id": ids[q.context], "score": 1} for q in questions],
    )


READERS: Mapping[str, Callable[[Mapping[str, Any], Path], RetrievalSet]] = {
    "beir": beir,
    "squad": squad_paragraphs,
}
"""Reader of each `format` of a retrieval set."""


def limited(
    retrieval_set: RetrievalSet, n_queries: int | None = None, n_documents: int | None = None
) -> RetrievalSet:
    """Restrict a set to its first judged queries, their relevant documents and the first others.

    Parameters
    ----------
    retrieval_set : the set to restrict; its stream of documents is consumed.
    n_queries : number of judged queries to keep; None keeps all.
    n_documents : number of documents to keep, relevant ones included; None keeps all.

    Raises
    ------
    JobError
        if no query is judged, the text of a judged query is empty, or there are more relevant
        documents than `n_documents`.
    """
    judged_ids = {row["query-id"] for row in retrieval_set.qrels}
    queries = [query for query in retrieval_set.queries if query["_id"] in judged_ids][:n_queries]
    if not queries:
        raise JobError(
            f"none of the {len(retrieval_set.queries)} queries is judged. Choose another split of "
            "the judgements."
        )
    for query in queries:
        if not query["text"].strip():
            raise JobError(
                f"query {query['_id']!r} is judged, but its text is empty. Give it a text, or "
                "remove its judgements."
            )
    known_ids = {query["_id"] for query in retrieval_set.queries}
    LOG.info(
        "%d of %d queries are judged; %d judged queries are not among them",
        len(judged_ids & known_ids), len(known_ids), len(judged_ids - known_ids),
    )  # fmt: skip
    if judged_ids - known_ids:
        warn(
            f"{len(judged_ids - known_ids)} judged queries are not in the set, for instance "
            f"{min(judged_ids - known_ids)!r}."
        )
    query_ids = {query["_id"] for query in queries}
    qrels = [row for row in retrieval_set.qrels if row["query-id"] in query_ids]
    relevant = {row["corpus-id"] for row in qrels if row["score"] > 0}
    if n_documents is not None and n_documents < len(relevant):
        raise JobError(
            f"n_documents is {n_documents}, but {len(relevant)} documents are relevant to the "
            f"{len(queries)} queries. Increase n_documents, or reduce n_queries."
        )
    return RetrievalSet(
        _limit_documents(retrieval_set.documents, relevant, n_documents), queries, qrels
    )


def _limit_documents(documents: Rows, relevant: set[str], n_documents: int | None) -> Rows:
    n_others_left = None if n_documents is None else n_documents - len(relevant)
    for document in documents:
        if document["_id"] in relevant:
            yield document
        elif n_others_left is None or n_others_left > 0:
            n_others_left = None if n_others_left is None else n_others_left - 1
            yield document
