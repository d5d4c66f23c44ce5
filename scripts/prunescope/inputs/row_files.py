"""Read the rows of a data file, in the format its suffix names, without guessing any types.

Libraries that read data sets guess: a text that looks like a date becomes one, a column that is
empty in the first rows rejects later values, and an id of 007 becomes 7. Here a value of a JSON
file keeps its JSON type, a value of a .csv or .tsv file is text, and a .txt file is a single row
whose column `text` is the whole file. Files of one data set may have different columns.
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
"""The location of a row, as `<file>#<number counted from 0>`, and its columns.

In files of lines the number is that of the line, and blank lines count.
"""

_MAX_FIELD_LENGTH = 1 << 30


def read(file: Path, name: str) -> Iterator[Row]:
    """Read the rows of one file one by one, in the order of the file.

    Parameters
    ----------
    file : path of the file.
    name : the file's name in row locations and messages.

    Raises
    ------
    JobError
        if there is no reader for the suffix, or if the content does not match the suffix; the
        message names the line.
    """
    suffix = suffix_of(file)
    if suffix not in READERS:
        raise JobError(
            f"{name}: there is no reader for files with this suffix. Use one of "
            f"{', '.join(READERS)} (optionally compressed as {', '.join(unpacking.OPENERS)}), or a "
            "folder in the hub's layout."
        )
    yield from READERS[suffix](file, name)


def suffix_of(file: Path) -> str:
    """The suffix that names the format of a file; the suffix of its compression is ignored."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in unpacking.OPENERS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def named(location: str) -> str:
    """A row's location in words, counted from 1 as editors count lines: `row 3 of train.jsonl`."""
    file_name, _, number = location.rpartition("#")
    return f"row {int(number) + 1} of {file_name}" if number.isdigit() else location


def plain_text(value: object) -> str | None:
    """A value as text, if it is text or a whole number; None for any other value.

    None is also returned for text with an unpaired surrogate, which UTF-8 cannot represent.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and is_unicode(value) else None


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded in UTF-8; an unpaired surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def kind_of(value: object) -> str:
    """A description of a value that should have been text, for messages."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "text with half of a surrogate pair (\\ud800 to \\udfff alone)"
    description = f"{type(value).__name__} {value!r}"
    return description if len(description) <= 60 else f"{description[:57]}..."


def lines(file: Path, name: str) -> Iterator[str]:
    """Lines of a UTF-8 text file without their line ends and without a leading byte order mark.

    Raises
    ------
    JobError
        if the file is not UTF-8 (the message names the line), or if it is compressed and either
        damaged or too large when unpacked.
    """
    with unpacking.open_file(file, name) as stream:
        for number, line in enumerate(stream, start=1):
            yield _decode(line, name, number).rstrip("\r\n")


def _decode(line: bytes, name: str, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise JobError(
            f"{name}: line {number} is not UTF-8 (byte {error.start + 1} of the line is "
            f"0x{line[error.start]:02x}). Convert the file, for instance with "
            "`iconv -f latin1 -t utf-8`."
        ) from None


def _read_json(file: Path, name: str) -> Iterator[Row]:
    """Read JSON lines, a single JSON array of rows, or a single row that spans several lines."""
    start = next((line.lstrip()[:1] for line in lines(file, name) if line.strip()), "")
    if start == "[":
        yield from _read_whole_json(file, name)
        return
    for number, line in enumerate(lines(file, name)):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == 0 and suffix_of(file) == ".json":
                yield from _read_whole_json(file, name)
                return
            raise JobError(
                f"{name}: line {number + 1} is not JSON ({error}). Write one JSON object per line, "
                "or a single array of objects."
            ) from None
        yield f"{name}#{number}", _require_object(row, name, f"line {number + 1}")


def _read_whole_json(file: Path, name: str) -> Iterator[Row]:
    try:
        content = json.loads("\n".join(lines(file, name)))
    except ValueError as error:
        raise JobError(f"{name}: the file is not JSON ({error}). Correct or replace it.") from None
    rows = content if isinstance(content, list) else [content]
    for number, row in enumerate(rows):
        yield f"{name}#{number}", _require_object(row, name, f"row {number + 1}")


def _require_object(row: object, name: str, location: str) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        description = "a text" if isinstance(row, str) else kind_of(row)
        raise JobError(
            f"{name}: {location} holds {description}, not a JSON object with columns. Correct the "
            "file."
        )
    return row


def _read_parquet(file: Path, name: str) -> Iterator[Row]:
    import pyarrow as pa  # imported only here, because text files do not need it
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            groups = (parquet.metadata.row_group(i) for i in range(parquet.num_row_groups))
            unpacked_bytes = sum(group.total_byte_size for group in groups)
            unpacking.refuse_more(name, file.stat().st_size, unpacked_bytes)
            batches = parquet.iter_batches(batch_size=1024)
            rows = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
            for number, row in enumerate(rows):
                yield f"{name}#{number}", row
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise JobError(
            f"{name}: the file cannot be read as Parquet ({error}). Fetch or write it again."
        ) from error


def _read_arrow(file: Path, name: str) -> Iterator[Row]:
    """Read an Arrow stream, the format in which `datasets` saves rows, or an Arrow file."""
    import pyarrow as pa

    try:
        with file.open("rb") as stream:
            is_file = stream.read(6) == b"ARROW1"
        with pa.memory_map(str(file)) as mapped:
            if is_file:
                reader = pa.ipc.open_file(mapped)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                batches = iter(pa.ipc.open_stream(mapped))
            rows = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
            for number, row in enumerate(rows):
                yield f"{name}#{number}", row
    except pa.ArrowInvalid as error:
        raise JobError(
            f"{name}: the file cannot be read as Arrow ({error}). Fetch or write it again."
        ) from error


def _read_csv(file: Path, name: str) -> Iterator[Row]:
    """Read a .csv file with a header and spreadsheet-style quoting."""
    content = "\n".join(lines(file, name))
    csv.field_size_limit(_MAX_FIELD_LENGTH)
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    try:
        for number, row in enumerate(reader, start=1):
            yield f"{name}#{number}", _refuse_extra_values(row, f"row {number + 1} of {name}")
    except csv.Error as error:
        raise JobError(
            f"{name}: line {reader.line_num} is not CSV ({error}). Correct the line."
        ) from None


def _read_tsv(file: Path, name: str) -> Iterator[Row]:
    """Read a .tsv file with a header; quotes have no special meaning."""
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
        yield f"{name}#{number}", _refuse_extra_values(row, f"row {number + 1} of {name}")


def _refuse_extra_values(row: dict[Any, Any], location: str) -> Mapping[str, Any]:
    if None in row:
        n_extra = len(row.pop(None))
        raise JobError(
            f"{location} has {n_extra} values more than the header has columns. Correct the row."
        )
    return row


def _read_text(file: Path, name: str) -> Iterator[Row]:
    """Read a text file as a single row, with every line end as one newline character."""
    yield f"{name}#0", {"text": "\n".join(lines(file, name))}


READERS: Mapping[str, Callable[[Path, str], Iterator[Row]]] = {
    ".parquet": _read_parquet,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".arrow": _read_arrow,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".txt": _read_text,
}
"""Reader of each suffix. In a compressed file it precedes the suffix `.gz`, `.bz2` or `.xz`."""
