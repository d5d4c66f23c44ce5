"""Rows of a file of a data set, by its suffix: every value as the file has it, no type guessed.

Libraries that read data sets guess: a text that looks like a date becomes one, a column that is
empty in the first rows refuses what comes later, and an id of 007 becomes 7. Here a value of a JSON
file keeps its JSON type, a value of a .csv or .tsv file is text, a .txt file is one row whose
column `text` is the whole file, and each file is read without regard to the columns of others.
"""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prunescope.inputs import unpacking
from prunescope.progress import JobError

Row = tuple[str, Mapping[str, Any]]
"""Where a row stands, as `<file>#<number counted from 0>`, and its columns.

In files of lines the number is the line's, blank lines included.
"""

_LONGEST_FIELD = 1 << 30


def read(file: Path, name: str) -> Iterator[Row]:
    """Rows of one file in its own order, one by one.

    Parameters
    ----------
    name : what the file is called in places and messages.

    Raises
    ------
    JobError
        if the suffix has no reader, or the file is not what its suffix says; the line is named.
    """
    suffix = suffix_of(file)
    if suffix not in READERS:
        raise JobError(
            f"{name}: no reader for this kind of file. Use one of {', '.join(READERS)} (packed as "
            f"{', '.join(unpacking.OPENERS)}, if they are), or a folder in the hub's layout."
        )
    yield from READERS[suffix](file, name)


def suffix_of(file: Path) -> str:
    """The suffix that says what a file holds, without that of its packing."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in unpacking.OPENERS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def named(place: str) -> str:
    """A row's place in words, counted from 1 as editors count lines: `row 3 of train.jsonl`."""
    member, _, number = place.rpartition("#")
    return f"row {int(number) + 1} of {member}" if number.isdigit() else place


def plain_text(value: object) -> str | None:
    """A value as text if that changes nothing: a text itself, or a whole number; else None.

    A text with half of a surrogate pair cannot be written as UTF-8: that is no text either.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and is_unicode(value) else None


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def kind_of(value: object) -> str:
    """A value in words, for messages about one that should have been text."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "text with half of a surrogate pair (\\ud800 to \\udfff alone)"
    said = f"{type(value).__name__} {value!r}"
    return said if len(said) <= 60 else f"{said[:57]}..."


def lines(file: Path, name: str) -> Iterator[str]:
    """Lines of a text file without their ends, UTF-8, a byte order mark at the start left out.

    Raises
    ------
    JobError
        if the file is not UTF-8; the line is named. If it is packed, and damaged or too large.
    """
    with unpacking.open_file(file, name) as opened:
        for number, line in enumerate(opened, start=1):
            yield _decoded(line, name, number).rstrip("\r\n")


def _decoded(line: bytes, name: str, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise JobError(
            f"{name}: line {number} is not UTF-8 (byte 0x{line[error.start]:02x}, the "
            f"{error.start + 1}. of the line). Convert the file, for instance with "
            "`iconv -f latin1 -t utf-8`."
        ) from None


def _json(file: Path, name: str) -> Iterator[Row]:
    """JSON lines, or a file that is one JSON array of rows, or one row over several lines."""
    start = next((line.lstrip()[:1] for line in lines(file, name) if line.strip()), "")
    if start == "[":
        yield from _json_whole(file, name)
        return
    for number, line in enumerate(lines(file, name)):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == 0 and suffix_of(file) == ".json":
                yield from _json_whole(file, name)
                return
            raise JobError(
                f"{name}: line {number + 1} is not JSON ({error}). A file of rows has one JSON "
                "object per line, or is one array of them."
            ) from None
        yield f"{name}#{number}", _object(row, name, f"line {number + 1}")


def _json_whole(file: Path, name: str) -> Iterator[Row]:
    try:
        found = json.loads("\n".join(lines(file, name)))
    except ValueError as error:
        raise JobError(f"{name}: not JSON ({error}).") from None
    rows = found if isinstance(found, list) else [found]
    for number, row in enumerate(rows):
        yield f"{name}#{number}", _object(row, name, f"row {number + 1}")


def _object(row: object, name: str, where: str) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise JobError(
            f"{name}: {where} holds {kind_of(row) if not isinstance(row, str) else 'a text'}, not "
            "a JSON object with columns."
        )
    return row


def _parquet(file: Path, name: str) -> Iterator[Row]:
    import pyarrow as pa  # here: files of text do without
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            groups = (opened.metadata.row_group(i) for i in range(opened.num_row_groups))
            unpacked_bytes = sum(group.total_byte_size for group in groups)
            unpacking.refuse_more(name, file.stat().st_size, unpacked_bytes)
            batches = opened.iter_batches(batch_size=1024)
            found = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
            for number, row in enumerate(found):
                yield f"{name}#{number}", row
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise JobError(f"{name}: cannot be read as Parquet ({error}).") from error


def _arrow(file: Path, name: str) -> Iterator[Row]:
    """Rows of an Arrow stream, as `datasets` saves it, or of an Arrow file."""
    import pyarrow as pa

    try:
        with file.open("rb") as opened:
            is_file = opened.read(6) == b"ARROW1"
        with pa.memory_map(str(file)) as mapped:
            if is_file:
                reader = pa.ipc.open_file(mapped)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                batches = iter(pa.ipc.open_stream(mapped))
            found = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
            for number, row in enumerate(found):
                yield f"{name}#{number}", row
    except pa.ArrowInvalid as error:
        raise JobError(f"{name}: cannot be read as Arrow ({error}).") from error


def _comma_separated(file: Path, name: str) -> Iterator[Row]:
    """Rows of a .csv file with a header; quotes as spreadsheets set them."""
    whole = "\n".join(lines(file, name))
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.DictReader(io.StringIO(whole, newline=""), strict=True)
    try:
        for number, row in enumerate(reader, start=1):
            yield f"{name}#{number}", _as_wide_as_header(row, f"row {number + 1} of {name}")
    except csv.Error as error:
        raise JobError(f"{name}: line {reader.line_num} is no CSV ({error}).") from None


def _tab_separated(file: Path, name: str) -> Iterator[Row]:
    """Rows of a .tsv file with a header; a quote is a character like any other."""
    header: list[str] | None = None
    for number, line in enumerate(lines(file, name)):
        if not line.strip():
            continue
        fields = line.split("\t")
        if header is None:
            header = fields
            continue
        row: dict[Any, Any] = dict(zip(header, fields, strict=False))
        row.update(dict.fromkeys(header[len(fields) :]))
        if len(fields) > len(header):
            row[None] = fields[len(header) :]
        yield f"{name}#{number}", _as_wide_as_header(row, f"row {number + 1} of {name}")


def _as_wide_as_header(row: dict[Any, Any], where: str) -> Mapping[str, Any]:
    if None in row:
        n_extra = len(row.pop(None))
        raise JobError(f"{where} has {n_extra} values more than the header has columns.")
    return row


def _text(file: Path, name: str) -> Iterator[Row]:
    """One row: the file's whole text, line ends as one character."""
    yield f"{name}#0", {"text": "\n".join(lines(file, name))}


READERS: Mapping[str, Callable[[Path, str], Iterator[Row]]] = {
    ".parquet": _parquet,
    ".json": _json,
    ".jsonl": _json,
    ".arrow": _arrow,
    ".csv": _comma_separated,
    ".tsv": _tab_separated,
    ".txt": _text,
}
"""What is read, by suffix; that of a packed file stands before `.gz` and its like."""
