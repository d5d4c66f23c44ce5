"""Read and write the artifacts of the store.

Files are complete or absent, tables are checked against their schema, and queries see tables as
views.
"""

import contextlib
import functools
import itertools
import json
import os
import platform
import re
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

PACKAGES = (
    *("torch", "transformers", "tokenizers", "numpy", "numba", "scipy", "pyarrow", "duckdb"),
    *("gguf", "lm_eval", "rouge_score", "pytrec_eval-terrier"),
)
"""Packages whose versions are recorded in the metadata of every artifact."""

_PROVENANCE_KEY = b"prunescope"

_REPLICATE = re.compile(r"(?<=/)((?:model|variant)=[^/@]+)@([0-9]+)(?=/)")
"""The model or the variant in the path of a replicate, and its seed."""

_Row = TypeVar("_Row")


def provenance(rule: str, settings: Mapping[str, object]) -> dict[str, object]:
    """What made an artifact: rule, settings, source commit, package versions, schema version.

    It contains neither the time nor the host, so that equal inputs give equal bytes.
    """
    return {
        "rule": rule,
        "settings": dict(settings),
        "commit": _commit(),
        "packages": versions(),
        "schema_version": SCHEMA_VERSION,
    }


@functools.cache
def _commit() -> str:
    """Commit of the source tree, with `-dirty` appended if there are uncommitted changes."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        process = subprocess.run(describe, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return process.stdout.strip()


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages on which the numbers may depend."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` on success, remove it on failure.

    A killed job leaves at most a hidden `.name.pid.part`, never a file under the final name. The
    next writer of `path` removes such a remnant; if its process is still alive, that process fails
    and not the new writer. The file gets the mode of any new file, whichever library wrote it.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    for leftover in final.parent.glob(f".{final.name}.*.part*"):  # DuckDB adds `.wal`
        leftover.unlink(missing_ok=True)
    part_file = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        yield part_file
        set_usual_mode(part_file)
        move(part_file, final)
    finally:
        part_file.unlink(missing_ok=True)


def move(part: Path, final: Path) -> None:
    """Rename a finished file or folder so that it is complete or absent even after a power cut.

    The content is written to the disk before the rename, and the rename before this function
    returns. Without the former, the rename could survive a power cut that the content does not.
    """
    for path in sorted(part.rglob("*")) if part.is_dir() else []:
        if path.is_dir() or (path.is_file() and not path.is_symlink()):
            _sync_to_disk(path)
    _sync_to_disk(part)
    part.replace(final)
    _sync_to_disk(final.parent)


def _sync_to_disk(path: Path) -> None:
    """Make the system write the content of a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_usual_mode(file: Path) -> None:
    """Give a file the mode that the umask gives any new file; safetensors makes files private."""
    umask = os.umask(0o077)  # setting the umask is the only way to read it
    os.umask(umask)
    file.chmod(0o666 & ~umask)


class TableWriter:
    """Writes the rows of a table to a file, one row group at a time."""

    def __init__(self, file: pq.ParquetWriter, table: str) -> None:
        self._file, self._table = file, table

    def write(self, rows: pa.Table) -> None:
        """Append rows. Raises ValueError if they do not match the declared schema."""
        self._file.write_table(_check_columns(rows, self._table).cast(self._file.schema))


@contextlib.contextmanager
def writer(path: str | Path, table: str, made_by: Mapping[str, object]) -> Iterator[TableWriter]:
    """Open a Parquet file of a table for writing; it appears once the block ends without error.

    Parameters
    ----------
    path : where the file will appear.
    table : name of the table in `schemas`.
    made_by : the provenance to record in the file, as `provenance` returns it.
    """
    metadata = {_PROVENANCE_KEY: json.dumps(made_by, sort_keys=True)}
    schema = TABLES[table].schema.with_metadata(metadata)
    with written_whole(path) as part_file, sealed_parquet(part_file, schema) as file:
        yield TableWriter(file, table)


@contextlib.contextmanager
def sealed_parquet(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file with page checksums and a seal in its footer."""
    # The seal is not in the schema's metadata, because Parquet stores a second copy in base64.
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as file:
        yield file
        file.add_key_value_metadata({seals.KEY: seals.BLANK})
    seals.seal(path)


def write_parquet(path: str | Path, rows: pa.Table) -> None:
    """Write rows whose columns no schema declares, such as those of a task, sealed like tables."""
    with written_whole(path) as part_file, sealed_parquet(part_file, rows.schema) as file:
        file.write_table(rows)


def write_json(path: str | Path, content: Mapping[str, object], indent: int | None = None) -> None:
    """Write a JSON object with its seal as the first key.

    Parameters
    ----------
    path : where the file will appear.
    content : the object, without a seal.
    indent : number of spaces per level; None writes a single line.

    Raises
    ------
    ValueError
        if the content contains a NaN or an infinity.
    """
    with written_whole(path) as part_file:
        text = json.dumps(
            {seals.KEY: seals.BLANK, **content},
            ensure_ascii=False,
            allow_nan=False,
            indent=indent,
            separators=(",", ":") if indent is None else None,
        )
        part_file.write_text(f"{text}\n", encoding="utf-8")
        seals.seal(part_file)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read what `write_json` wrote. Raises JobError if the file is damaged."""
    seals.check(path)
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    del content[seals.KEY]
    return content


def read_parquet(path: str | Path) -> pa.Table:
    """Read all rows of a Parquet file of the store. Raises JobError if the file is damaged."""
    seals.check(path)
    return pq.ParquetFile(path, page_checksum_verification=True).read()


def batches(rows: Iterable[_Row], size: int) -> Iterator[list[_Row]]:
    """Split a stream of rows into lists of `size` rows; the last one may be shorter."""
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def write(path: str | Path, rows: pa.Table, table: str, made_by: Mapping[str, object]) -> None:
    """Write all rows of a file at once.

    Parameters
    ----------
    path : where the file will appear.
    rows : the rows, with the columns that the schema declares.
    table : name of the table in `schemas`.
    made_by : the provenance to record in the file, as `provenance` returns it.

    Raises
    ------
    ValueError
        if a column is missing, extra, mistyped, or null where the schema does not allow it.
    """
    with writer(path, table, made_by) as file:
        file.write(rows)


def _check_columns(rows: pa.Table, table: str) -> pa.Table:
    schema = TABLES[table].schema
    missing = set(schema.names) - set(rows.column_names)
    extra = set(rows.column_names) - set(schema.names)
    if missing or extra:
        raise ValueError(
            f"table {table!r}: missing columns {sorted(missing)}, unknown columns {sorted(extra)}. "
            "The columns are declared in prunescope/tables/."
        )
    for field in schema:
        column = rows.column(field.name)
        if column.type != field.type:
            raise ValueError(
                f"table {table!r}: column {field.name!r} has type {column.type}, but its declared "
                f"type is {field.type}."
            )
        if column.null_count and not field.nullable:
            raise ValueError(
                f"table {table!r}: column {field.name!r} contains nulls, which its schema forbids."
            )
    return rows.select(schema.names)


def read(path: str | Path, table: str) -> pa.Table:
    """Read the rows of one file, without the partition keys of its path.

    Raises ValueError if the file holds another table or was written under another schema version.
    """
    rows = read_parquet(path)
    if rows.schema.names != TABLES[table].schema.names:
        raise ValueError(
            f"{path} does not hold table {table!r} of schema version {SCHEMA_VERSION}: its columns "
            f"are {rows.schema.names}. Remove the file and run snakemake again."
        )
    return rows


def read_provenance(path: str | Path) -> dict[str, object]:
    """The provenance recorded in a Parquet artifact, as `provenance` returned it."""
    made_by: dict[str, object] = json.loads(pq.read_schema(path).metadata[_PROVENANCE_KEY])
    return made_by


def open_tables(
    files: Mapping[str, Sequence[str | Path]], database: str | Path | None = None
) -> "duckdb.DuckDBPyConnection":
    """Open a DuckDB connection with one view per table over exactly the given files.

    Partition keys of the paths become text columns, without the seed that a replicate's ends in.

    Parameters
    ----------
    files : the files of each table, by the name of the table in `schemas`.
    database : a file to which the views are written; None keeps them in memory. Its views name
        files relative to its folder, so that it can be moved together with the store: open it in
        that folder, or set DuckDB's `file_search_path` to the folder.

    Raises
    ------
    JobError
        if a file is damaged; DuckDB itself would not notice it.
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
        absolute_paths = [Path(path).resolve() for path in paths]
        names = [os.path.relpath(path, folder) if folder else str(path) for path in absolute_paths]
        file_list = ", ".join(map(quoted, names))
        connection.execute(
            f"CREATE VIEW {table} AS SELECT * {_without_seeds(table, paths)}"
            f"FROM read_parquet([{file_list}], "
            f"hive_partitioning = true, hive_types_autocast = false, hive_types = {{{keys}}})"
        )
    return connection


def seed_of(path: str | Path) -> tuple[str, str]:
    """The seed of a replicate, empty for other files, and the path of the first seed's file."""
    found = _REPLICATE.search(str(path))
    return (found[2] if found else ""), _REPLICATE.sub(r"\1", str(path))


def _without_seeds(table: str, paths: Sequence[str | Path]) -> str:
    """SQL that gives replicates the names of their models and variants; empty if there are none."""
    if not any(seed for seed, _ in map(seed_of, paths)):
        return ""
    keys = [key for key in ("model", "variant") if key in TABLES[table].partition]
    names = [f"split_part({key}, '@', 1) AS {key}" for key in keys]
    return f"REPLACE ({', '.join(names)}) "


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
