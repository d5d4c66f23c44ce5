"""The bundle: the data of every figure, every verdict and what columns mean, to take away.

It is described by RO-Crate metadata (https://w3id.org/ro/crate/1.1), a JSON file that says in
schema.org's words what each file is. It is written here, since the one library that writes it
brings a workflow engine's parsers along.
"""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from prunescope.inference.claims import CLAIMS
from prunescope.tables.schemas import TABLES

METADATA = "ro-crate-metadata.json"
"""The name that RO-Crate gives to its file."""

Described = dict[str, str]
"""Path of a file in the bundle -> what it holds."""


def write(
    folder: Path, figures: Mapping[str, Mapping[str, Any]], verdicts: pa.Table, commit: str
) -> None:
    """Write the bundle into an empty folder.

    Parameters
    ----------
    folder : the folder.
    figures : stem -> figure as `draw_figure` writes it.
    verdicts : table `claim_verdict`, with the figure of each row.
    commit : commit of the source that made it.
    """
    files: Described = {}
    for stem, figure in figures.items():
        rows = [row for dataset in figure["datasets"].values() for row in dataset]
        title = f"Data of {figure['usermeta']['title']}"
        files |= _table(folder, f"figures/{stem}", pa.Table.from_pylist(rows), title)
    files |= _table(folder, "claim_verdict", verdicts, "Verdicts on the claims of claims.yaml")
    files |= _table(folder, "data_dictionary", dictionary(), "Meaning of each column of the store")
    (folder / "claims.yaml").write_bytes(CLAIMS.read_bytes())
    files["claims.yaml"] = "The claims: statistic, threshold and direction, fixed before the run"
    metadata = json.dumps(crate(files, commit), indent=1, ensure_ascii=False)
    (folder / METADATA).write_text(metadata + "\n", encoding="utf-8")


def _table(folder: Path, name: str, table: pa.Table, meaning: str) -> Described:
    """Write a table as CSV and as Parquet."""
    csv, parquet = folder / f"{name}.csv", folder / f"{name}.parquet"
    csv.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, parquet)
    pyarrow.csv.write_csv(_flat(table), csv)
    return {f"{name}.csv": f"{meaning}, as CSV", f"{name}.parquet": f"{meaning}, as Parquet"}


def _flat(table: pa.Table) -> pa.Table:
    """The table with lists and mappings as JSON texts, since CSV has neither."""
    for place, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            texts = [json.dumps(value, ensure_ascii=False) for value in table[place].to_pylist()]
            table = table.set_column(place, field.name, pa.array(texts))
    return table


def dictionary() -> pa.Table:
    """One row per column of every table of the store: its type and its meaning."""
    return pa.Table.from_pylist(list(_columns()))


def _columns() -> Iterator[dict[str, Any]]:
    for table in TABLES.values():
        for key in table.partition:
            yield _column(table.name, table.grain, key, "string", "part of the path of a file")
        for column in table.columns:
            yield _column(table.name, table.grain, column.name, str(column.type), column.meaning)


def _column(table: str, grain: str, name: str, kind: str, meaning: str) -> dict[str, Any]:
    return {"table": table, "row": grain, "column": name, "type": kind, "meaning": meaning}


def crate(files: Described, commit: str) -> dict[str, Any]:
    """RO-Crate metadata of the bundle.

    Parameters
    ----------
    files : path of each file -> what it holds.
    commit : commit of the source that made it.
    """
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": "prunescope: data of one run",
        "description": f"Figures and verdicts, made by prunescope at commit {commit}.",
        "datePublished": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "hasPart": [{"@id": path} for path in files],
    }
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    entries = [_entry(path, meaning) for path, meaning in files.items()]
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": [descriptor, root, *entries],
    }


def _entry(path: str, meaning: str) -> dict[str, str]:
    formats = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
    suffix = path.rpartition(".")[2]
    return {
        "@id": path,
        "@type": "File",
        "name": meaning,
        "encodingFormat": formats.get(suffix, "application/yaml"),
    }


def joined(tables: Iterable[tuple[str, pa.Table]]) -> pa.Table:
    """The verdicts of all figures in one table.

    Parameters
    ----------
    tables : stem of each figure, and its rows of `claim_verdict`.
    """
    named: Sequence[pa.Table] = [
        table.append_column("figure", pa.array([stem] * len(table), pa.string()))
        for stem, table in tables
    ]
    return pa.concat_tables(named) if named else TABLES["claim_verdict"].empty()
