"""Retrieval sets in BEIR's layout: documents, queries, and which answer which.

BEIR's own folders and hub repositories are read as they are; SQuAD's questions become queries for
the paragraphs they were asked about.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunescope.inputs import row_files, sources, squad
from prunescope.progress import LOG, JobError, warn

Rows = Iterable[Mapping[str, Any]]

_FILES = {"corpus": "corpus", "queries": "queries", "qrels": "qrels/{split}"}
"""Where a folder in BEIR's layout keeps each part, without suffix."""

_SUFFIXES = tuple(suffix for suffix in row_files.READERS if suffix != ".txt")
_PACKED = ("", ".gz", ".bz2", ".xz")

_JUDGED_LINES = (".tsv", ".txt", ".qrels", ".qrel", ".trec")
"""Suffixes of judgements as lines: BEIR's three columns, or the four of TREC."""

_COLUMN_NAMES = {
    "query-id": ("query-id", "query_id", "queryid", "qid", "query", "topic", "topicid"),
    "corpus-id": (
        *("corpus-id", "corpus_id", "docid", "doc_id", "doc-id", "document_id", "document-id"),
        *("docno", "did", "pid", "passage_id", "corpusid"),
    ),
    "score": ("score", "relevance", "rel", "grade", "label", "judgment", "judgement"),
}
"""What a header of judgements may call BEIR's three columns."""

HIGHEST_GRADE = 1000
"""trec_eval counts documents per grade, so a huge one takes all memory."""


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

    queries = list(_queries(part("queries", entry["source"])))
    file = _judged_lines(judged, split)
    found = _lines_of_judgements(*file) if file else _rows_of_judgements(part("qrels", judged))
    return RetrievalSet(
        _documents(part("corpus", entry["source"])), queries, list(_each_pair_once(found))
    )


def _queries(rows: Iterable[sources.Row]) -> Iterator[Mapping[str, str]]:
    """`_id` and `text` of every query; a text may be empty, see `limited`."""
    seen: dict[str, str] = {}
    for place, row in rows:
        query = _id(row, "_id", place)
        _refuse_again(seen, query, place, "query")
        yield {"_id": query, "text": _text(row, "text", place)}


def _documents(rows: Iterable[sources.Row]) -> Iterator[Mapping[str, str]]:
    """`_id`, `title` and `text` of every document; a null or missing title is an empty one."""
    seen: dict[str, str] = {}
    for place, row in rows:
        document = _id(row, "_id", place)
        _refuse_again(seen, document, place, "document")
        title = _text(row, "title", place) if "title" in row else ""
        yield {"_id": document, "title": title, "text": _text(row, "text", place)}


def _refuse_again(seen: dict[str, str], found: str, place: str, what: str) -> None:
    """Raise JobError for an id that another row has: judgements of it could mean either."""
    if found in seen:
        raise JobError(
            f"{row_files.named(place)} has the {what} id {found!r} of "
            f"{row_files.named(seen[found])}. Judgements of it could mean either: give every "
            f"{what} an id of its own."
        )
    seen[found] = place


def _judged_lines(source: Mapping[str, str], split: str) -> tuple[Path, str] | None:
    """The file of judgements, and its name for messages, if it is one of plain lines."""
    if source["from"] != "path":
        return None
    root = Path(source["path"]).expanduser()
    wanted = root / _FILES["qrels"].format(split=split)
    names = [f"{wanted.name}{suffix}{packed}" for suffix in _JUDGED_LINES for packed in _PACKED]
    files = [root] if root.is_file() else [wanted.with_name(name) for name in names]
    found = [f for f in files if f.is_file() and row_files.suffix_of(f) in _JUDGED_LINES]
    return (found[0], found[0].name) if found else None


def _lines_of_judgements(file: Path, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Judgements of a file of lines: BEIR's (query, document, grade) or TREC's, which have four.

    Fields are parted by tabs, or by blanks in a file without tabs; a header may name them in
    another order.
    """
    columns: Mapping[str, int] | None = None
    for number, line in enumerate(row_files.lines(file, name)):
        if not line.strip():
            continue
        fields = line.strip("\r\n").split("\t") if "\t" in line else line.split()
        place = f"{name}#{number}"
        if columns is None:
            columns, is_header = _columns_of_judgements(fields, place)
            n_fields = len(fields)
            if is_header:
                continue
        if len(fields) != n_fields:
            raise JobError(
                f"{row_files.named(place)} has {len(fields)} fields, the rows before it "
                f"{n_fields}: {line[:80]!r}."
            )
        yield place, {column: fields[index].strip() for column, index in columns.items()}


def _columns_of_judgements(fields: Sequence[str], place: str) -> tuple[Mapping[str, int], bool]:
    """Where the columns stand, from the first line, and whether that line is a header."""
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
            f"but {row_files.named(place)} has {', '.join(fields)[:100]}. Correct `qrels` in "
            "config."
        )
    return columns, True


def _rows_of_judgements(rows: Iterable[sources.Row]) -> Iterator[sources.Row]:
    for place, row in rows:
        yield (
            place,
            {
                "query-id": _id(row, "query-id", place),
                "corpus-id": _id(row, "corpus-id", place),
                "score": _value(row, "score", place),
            },
        )


def _each_pair_once(rows: Iterable[sources.Row]) -> Iterator[Mapping[str, Any]]:
    """Judgements with whole grades; the same one twice counts once.

    Raises JobError for a grade that is no whole number, and for two grades of one pair.
    """
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    for place, row in rows:
        grade = _grade(row["score"], place)
        pair = (row["query-id"], row["corpus-id"])
        before, where = seen.setdefault(pair, (grade, place))
        if before != grade:
            raise JobError(
                f"{row_files.named(place)} judges document {pair[1]!r} for query {pair[0]!r} with "
                f"{grade}, but {row_files.named(where)} with {before}. Keep one of them."
            )
        if where == place:
            yield {"query-id": pair[0], "corpus-id": pair[1], "score": grade}


def _grade(value: Any, place: str) -> int:
    """A judgement as trec_eval reads it: a whole number, above 0 for relevant."""
    number = None if isinstance(value, bool) else _number(value)
    if number is None or not number.is_integer() or abs(number) > HIGHEST_GRADE:
        raise JobError(
            f"{row_files.named(place)} has the judgement {value!r}. nDCG and recall as trec_eval "
            f"counts them read whole grades up to {HIGHEST_GRADE}, 0 for not relevant: scale or "
            "round the judgements as you mean them."
        )
    return int(number)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _part(name: str, source: Mapping[str, str], split: str, of_its_own: bool) -> Mapping[str, str]:
    """The source of one part: a file of a folder, or a configuration of a repository."""
    if source["from"] == "path":
        folder = Path(source["path"]).expanduser()
        if folder.is_file():
            return source
        wanted = folder / _FILES[name].format(split=split)
        files = [
            wanted.with_name(f"{wanted.name}{suffix}{packed}")
            for suffix in _SUFFIXES
            for packed in _PACKED
        ]
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
            f"format `beir` reads a column `{column}`, but {row_files.named(place)} has "
            f"{', '.join(row)}{' with null in it' if column in row else ''}. Correct the source in "
            "config."
        )
    return row[column]


def _id(row: Mapping[str, Any], column: str, place: str) -> str:
    """An id as the text it is: `007` stays, 7 is `7`. Raises JobError for any other value."""
    value = _value(row, column, place)
    text = row_files.plain_text(value)
    if text is None or not text.strip():
        raise JobError(
            f"{row_files.named(place)}: `{column}` holds "
            f"{'an empty text' if text is not None else row_files.kind_of(value)}, which is no id. "
            "Ids are texts or whole numbers: write them so, and use `from: path`, where no type is "
            "guessed."
        )
    return text


def _text(row: Mapping[str, Any], column: str, place: str) -> str:
    """A text, null as an empty one. Raises JobError for a row without the column, or other."""
    if column not in row:
        raise JobError(
            f"format `beir` reads a column `{column}`, but {row_files.named(place)} has "
            f"{', '.join(row)}. Correct the source in config."
        )
    text = "" if row[column] is None else row_files.plain_text(row[column])
    if text is None:
        raise JobError(
            f"{row_files.named(place)}: `{column}` holds {row_files.kind_of(row[column])}, not "
            "text. Mend the row."
        )
    return text


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
        if no query was judged, a judged one is empty, or their relevant documents alone are more
        than `n_documents`.
    """
    judged = {row["query-id"] for row in found.qrels}
    queries = [query for query in found.queries if query["_id"] in judged][:n_queries]
    if not queries:
        raise JobError(
            f"none of the {len(found.queries)} queries is judged. Choose another split of the "
            "judgements."
        )
    for query in queries:
        if not query["text"].strip():
            raise JobError(
                f"query {query['_id']!r} is judged, but its text is empty. Give it one, or take "
                "its judgements out."
            )
    known = {query["_id"] for query in found.queries}
    LOG.info(
        "%d of %d queries are judged; %d judged queries are not among them",
        len(judged & known), len(known), len(judged - known),
    )  # fmt: skip
    if judged - known:
        warn(
            f"{len(judged - known)} judged queries are not in the set, for instance "
            f"{min(judged - known)!r}."
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
