"""The artifact store: write whole or not at all, check against the schema, read as views."""

import contextlib
import functools
import itertools
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from prunescope.paths import SCRIPTS
from prunescope.storage import seals
from prunescope.tables.schemas import SCHEMA_VERSION, TABLES

if TYPE_CHECKING:
    import duckdb

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "numba", "pyarrow", "duckdb", "lm_eval")
"""Distributions whose versions travel in the metadata of every artifact."""

_PROVENANCE_KEY = b"prunescope"

_Row = TypeVar("_Row")


def provenance(rule: str, settings: Mapping[str, object]) -> dict[str, object]:
    """What made an artifact: rule, settings, source commit, package versions, schema version.

    Holds no time and no host, so equal inputs give equal bytes.
    """
    return {
        "rule": rule,
        "settings": dict(settings),
        "commit": _commit(),
        "packages": _versions(),
        "schema_version": SCHEMA_VERSION,
    }


@functools.cache
def _commit() -> str:
    """Commit of the source tree, `-dirty` appended when it holds uncommitted changes."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        run = subprocess.run(describe, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()


@functools.cache
def _versions() -> dict[str, str]:
    """Versions of the installed packages that decide numbers."""
    installed = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a name beside `path`; rename it to `path` on success, remove it on failure.

    A killed job leaves at most a hidden `.name.pid.part`, never a file under the final name. The
    next writer removes it: should the process behind it still live, that one fails, not this.
    Whatever library wrote it, the file gets the mode of any new file.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    for left_over in final.parent.glob(f".{final.name}.*.part"):
        left_over.unlink(missing_ok=True)
    part = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        yield part
        set_usual_mode(part)
        move(part, final)
    finally:
        part.unlink(missing_ok=True)


def move(part: Path, final: Path) -> None:
    """Rename a finished file or folder, so that after a power cut it is whole or not there.

    Its bytes reach the disk before its name does, and the name before this returns: a rename alone
    may be kept where the bytes are lost.
    """
    for path in sorted(part.rglob("*")) if part.is_dir() else []:
        if path.is_dir() or (path.is_file() and not path.is_symlink()):
            _to_disk(path)
    _to_disk(part)
    part.replace(final)
    _to_disk(final.parent)


def _to_disk(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_usual_mode(file: Path) -> None:
    """Give a file the mode the umask gives any new one: safetensors makes its own private."""
    umask = os.umask(0o077)  # the only way to read it
    os.umask(umask)
    file.chmod(0o666 & ~umask)


class TableWriter:
    """Writes rows of one table to one file, a row group at a time."""

    def __init__(self, file: pq.ParquetWriter, table: str) -> None:
        self._file, self._table = file, table

    def write(self, rows: pa.Table) -> None:
        """Append rows. Raises ValueError where they do not match the declared schema."""
        self._file.write_table(_checked(rows, self._table).cast(self._file.schema))


@contextlib.contextmanager
def writer(path: str | Path, table: str, made_by: Mapping[str, object]) -> Iterator[TableWriter]:
    """Stream rows of `table` to Parquet with zstd; the file appears when the block ends well."""
    metadata = {_PROVENANCE_KEY: json.dumps(made_by, sort_keys=True)}
    schema = TABLES[table].schema.with_metadata(metadata)
    with written_whole(path) as part, sealed_parquet(part, schema) as file:
        yield TableWriter(file, table)


@contextlib.contextmanager
def sealed_parquet(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file with page checksums, and a digest of all of it in its footer."""
    # Not in the schema: what stands there is kept a second time, in base64.
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as file:
        yield file
        file.add_key_value_metadata({seals.KEY: seals.BLANK})
    seals.seal(path)


def write_parquet(path: str | Path, rows: pa.Table) -> None:
    """Write rows whose columns are a source's own, such as a task's, sealed like every table."""
    with written_whole(path) as part, sealed_parquet(part, rows.schema) as file:
        file.write_table(rows)


def write_json(path: str | Path, content: Mapping[str, object], indent: int | None = None) -> None:
    """Write a JSON object, its seal first. Raises ValueError for NaN and infinity."""
    with written_whole(path) as part:
        text = json.dumps(
            {seals.KEY: seals.BLANK, **content},
            ensure_ascii=False,
            allow_nan=False,
            indent=indent,
            separators=(",", ":") if indent is None else None,
        )
        part.write_text(f"{text}\n", encoding="utf-8")
        seals.seal(part)


def read_json(path: str | Path) -> dict[str, Any]:
    """What `write_json` wrote. Raises JobError if the file is damaged."""
    seals.check(path)
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    del found[seals.KEY]
    return found


def read_parquet(path: str | Path) -> pa.Table:
    """All rows of a Parquet file of the store. Raises JobError if the file is damaged."""
    seals.check(path)
    return pq.ParquetFile(path, page_checksum_verification=True).read()


def batches(rows: Iterable[_Row], size: int) -> Iterator[list[_Row]]:
    """So many rows of a stream at a time: a row group each."""
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def write(path: str | Path, rows: pa.Table, table: str, made_by: Mapping[str, object]) -> None:
    """Write all rows of one file at once.

    Raises
    ------
    ValueError
        if a column is missing, extra, mistyped, or null where the schema does not allow it.
    """
    with writer(path, table, made_by) as file:
        file.write(rows)


def _checked(rows: pa.Table, table: str) -> pa.Table:
    declared = TABLES[table].schema
    missing = set(declared.names) - set(rows.column_names)
    extra = set(rows.column_names) - set(declared.names)
    if missing or extra:
        raise ValueError(
            f"table {table!r}: missing columns {sorted(missing)}, unknown columns {sorted(extra)}. "
            "Columns are declared in prunescope/tables/schemas.py."
        )
    for field in declared:
        column = rows.column(field.name)
        if column.type != field.type:
            raise ValueError(
                f"table {table!r}: column {field.name!r} is {column.type}, declared {field.type}."
            )
        if column.null_count and not field.nullable:
            raise ValueError(f"table {table!r}: column {field.name!r} holds nulls.")
    return rows.select(declared.names)


def read(path: str | Path, table: str) -> pa.Table:
    """Rows of one file, without the partition keys of its path.

    Raises ValueError if the file was written under another schema version or table.
    """
    rows = read_parquet(path)
    if rows.schema.names != TABLES[table].schema.names:
        raise ValueError(
            f"{path} does not hold table {table!r} of schema version {SCHEMA_VERSION}: its columns "
            f"are {rows.schema.names}. Remove the file and run snakemake again."
        )
    return rows


def read_provenance(path: str | Path) -> dict[str, object]:
    """What made a Parquet artifact, as `provenance` recorded it."""
    found: dict[str, object] = json.loads(pq.read_schema(path).metadata[_PROVENANCE_KEY])
    return found


def open_tables(
    files: Mapping[str, Sequence[str | Path]], database: str | Path | None = None
) -> "duckdb.DuckDBPyConnection":
    """A DuckDB connection with one view per table over exactly the files given.

    Partition keys of the paths become text columns.

    Parameters
    ----------
    database : a file to write the views to; None keeps them in memory. Its views name files
        relative to its own folder, so that a store may be moved with it: open it in that folder,
        or set DuckDB's `file_search_path` to it.

    Raises
    ------
    JobError
        if a file is damaged: DuckDB would read it without a word.
    """
    import duckdb

    folder = None if database is None else Path(database).resolve().parent
    connection = duckdb.connect(
        ":memory:" if database is None else str(database),
        config={} if folder is None else {"file_search_path": str(folder)},
    )
    for table, paths in files.items():
        for path in paths:
            seals.check(path)
        keys = ", ".join(f"'{key}': VARCHAR" for key in TABLES[table].partition)
        absolute = [Path(path).resolve() for path in paths]
        named = [os.path.relpath(path, folder) if folder else str(path) for path in absolute]
        connection.execute(
            f"CREATE VIEW {table} AS SELECT * FROM read_parquet([{', '.join(map(quoted, named))}], "
            f"hive_partitioning = true, hive_types_autocast = false, hive_types = {{{keys}}})"
        )
    return connection


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
