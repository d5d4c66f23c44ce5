"""What differs between the tables of two stores, bit for bit, wall-clock columns left out.

Equal settings, sources and versions on one kind of machine give equal tables: with cold or warm
caches, killed on the way or not. This is the check, for stores of two runs:

    PYTHONPATH=scripts .venv/bin/python -m prunescope.storage.differences STORE OTHER_STORE

It prints one line per difference and exits with 1 if there is one. Columns that say how long
something took, how fast it was or what it ran on are marked in `schemas` and skipped.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from prunescope.tables.schemas import TABLES

_SAME_WIDTH = {pa.float64(): pa.int64(), pa.float32(): pa.int32()}
"""Numbers are compared by their bits: NaN equals itself, and 0.0 is not -0.0."""


def of_stores(one: Path, other: Path) -> Iterator[str]:
    """Differences of every table of two stores, a sentence each; none if the tables are equal."""
    for table in TABLES:
        files, others = (_files(root, table) for root in (one, other))
        for name in sorted(files.keys() | others.keys()):
            if name not in others:
                yield f"{name} is only in {one}."
            elif name not in files:
                yield f"{name} is only in {other}."
            else:
                rows, other_rows = pq.read_table(files[name]), pq.read_table(others[name])
                for said in of_rows(rows, other_rows, table):
                    yield f"{name}: {said}"


def _files(store: Path, table: str) -> dict[str, Path]:
    """Files of one table by their names below the store."""
    return {file.relative_to(store).as_posix(): file for file in (store / table).rglob("*.parquet")}


def of_rows(rows: pa.Table, other: pa.Table, table: str) -> Iterator[str]:
    """Differences of two files of one table; rows are compared in their order."""
    if rows.column_names != other.column_names:
        yield f"columns are {rows.column_names} and {other.column_names}."
        return
    if rows.num_rows != other.num_rows:
        yield f"there are {rows.num_rows} and {other.num_rows} rows."
        return
    skipped = {column.name for column in TABLES[table].columns if column.wall_clock}
    for name in rows.column_names:
        if name not in skipped:
            yield from _of_column(name, rows[name], other[name])


def _of_column(name: str, column: pa.ChunkedArray, other: pa.ChunkedArray) -> Iterator[str]:
    if column.type != other.type:
        yield f"column {name} is {column.type} and {other.type}."
        return
    if _bits(column).equals(_bits(other)):
        return
    pairs = list(zip(column.to_pylist(), other.to_pylist(), strict=True))
    equal = zip(_bits(column).to_pylist(), _bits(other).to_pylist(), strict=True)
    differing = [pair for pair, (a, b) in zip(pairs, equal, strict=True) if a != b]
    said = f"column {name} differs in {len(differing)} of {len(pairs)} rows"
    if pa.types.is_floating(column.type):
        numbers = [(a, b) for a, b in differing if a is not None and b is not None]
        largest = max((abs(a - b) / max(abs(a), abs(b)) for a, b in numbers if a != b), default=0.0)
        said += f", by {largest:.1e} of the larger number at most"
    yield f"{said}."


def _bits(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece, floats as the integers of the same bits."""
    whole = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return whole.view(_SAME_WIDTH[whole.type]) if whole.type in _SAME_WIDTH else whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the differences; 1 if there are any."""
    parser = argparse.ArgumentParser(description="Compare the tables of two stores bit for bit.")
    parser.add_argument("store", type=Path)
    parser.add_argument("other", type=Path)
    asked = parser.parse_args(arguments)
    for store in (asked.store, asked.other):
        if not any(_files(store, table) for table in TABLES):
            parser.error(f"{store} holds no table. Name two stores, for instance store/main.")
    differences = list(of_stores(asked.store, asked.other))
    summary = f"{len(differences)} differences between {asked.store} and {asked.other}."
    sys.stdout.write("\n".join([*differences, summary]) + "\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
