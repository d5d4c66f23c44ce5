"""Compare the tables of two stores bit for bit, without the columns that depend on the clock.

Two runs with equal settings, sources and package versions on the same kind of machine give equal
tables, whether their caches were cold or warm and whether or not they were killed and resumed. This
command checks it for the stores of two runs:

    PYTHONPATH=scripts .venv/bin/python -m prunescope.storage.differences STORE OTHER_STORE

It prints one line per difference, and exits with status 1 if there is any. Columns that hold
durations, speeds or the hardware are marked in `schemas` and skipped.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from prunescope.tables.schemas import TABLES

_INTEGER_TYPES = {pa.float64(): pa.int64(), pa.float32(): pa.int32()}
"""Floats are compared as integers of the same width: NaN equals itself, and 0.0 is not -0.0."""


def of_stores(store: Path, other_store: Path) -> Iterator[str]:
    """Differences between the tables of two stores, one sentence each; none if they are equal."""
    for table in TABLES:
        files, other_files = (_files(root, table) for root in (store, other_store))
        for name in sorted(files.keys() | other_files.keys()):
            if name not in other_files:
                yield f"{name} is only in {store}."
            elif name not in files:
                yield f"{name} is only in {other_store}."
            else:
                rows, other_rows = pq.read_table(files[name]), pq.read_table(other_files[name])
                for difference in of_rows(rows, other_rows, table):
                    yield f"{name}: {difference}"


def _files(store: Path, table: str) -> dict[str, Path]:
    """Files of one table, by their paths below the store."""
    return {file.relative_to(store).as_posix(): file for file in (store / table).rglob("*.parquet")}


def of_rows(rows: pa.Table, other_rows: pa.Table, table: str) -> Iterator[str]:
    """Differences between two files of one table, one sentence each; the order of rows matters.

    Parameters
    ----------
    rows, other_rows : all rows of each file.
    table : name of the table in `schemas`.
    """
    if rows.column_names != other_rows.column_names:
        yield f"columns are {rows.column_names} and {other_rows.column_names}."
        return
    if rows.num_rows != other_rows.num_rows:
        yield f"there are {rows.num_rows} and {other_rows.num_rows} rows."
        return
    skipped = {column.name for column in TABLES[table].columns if column.wall_clock}
    for name in rows.column_names:
        if name not in skipped:
            yield from _column_differences(name, rows[name], other_rows[name])


def _column_differences(
    name: str, column: pa.ChunkedArray, other_column: pa.ChunkedArray
) -> Iterator[str]:
    if column.type != other_column.type:
        yield f"column {name} is {column.type} and {other_column.type}."
        return
    if _bits(column).equals(_bits(other_column)):
        return
    pairs = list(zip(column.to_pylist(), other_column.to_pylist(), strict=True))
    bit_pairs = zip(_bits(column).to_pylist(), _bits(other_column).to_pylist(), strict=True)
    differing = [pair for pair, (a, b) in zip(pairs, bit_pairs, strict=True) if a != b]
    description = f"column {name} differs in {len(differing)} of {len(pairs)} rows"
    if pa.types.is_floating(column.type):
        numbers = [(a, b) for a, b in differing if a is not None and b is not None]
        largest = max((abs(a - b) / max(abs(a), abs(b)) for a, b in numbers if a != b), default=0.0)
        description += f", by at most {largest:.1e} of the larger number"
    yield f"{description}."


def _bits(column: pa.ChunkedArray) -> pa.Array:
    """The column as a single array, with floats as integers of the same bits."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return array.view(_INTEGER_TYPES[array.type]) if array.type in _INTEGER_TYPES else array


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the differences; returns the exit status, 1 if there are any."""
    parser = argparse.ArgumentParser(description="Compare the tables of two stores bit for bit.")
    parser.add_argument("store", type=Path)
    parser.add_argument("other", type=Path)
    options = parser.parse_args(arguments)
    for store in (options.store, options.other):
        if not any(_files(store, table) for table in TABLES):
            parser.error(f"{store} holds no table. Name two stores, for instance store/main.")
    differences = list(of_stores(options.store, options.other))
    summary = f"{len(differences)} differences between {options.store} and {options.other}."
    sys.stdout.write("\n".join([*differences, summary]) + "\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
