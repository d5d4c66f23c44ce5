"""The catalog opens in DuckDB in its own folder, with one described view per table."""

import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from build_catalog import build_catalog
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


@pytest.fixture
def influence_file(tmp_path: Path) -> Path:
    """One row of `influence`, of a model whose name looks like a number."""
    file = tmp_path / "store/influence/model=7/part.parquet"
    row = {"block": 0, "sublayer": "attn", "influence": 0.5, "n_tokens": 4}
    rows = pa.Table.from_pylist([row], TABLES["influence"].schema)
    store.write(file, rows, "influence", store.provenance("score_influences", {}))
    return file


def test_a_catalog_can_be_moved_with_its_store(
    influence_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the files beside it and not those of its old folder."""
    monkeypatch.chdir(tmp_path)
    relative = str(influence_file.relative_to(tmp_path))
    build_catalog({"influence": [relative]}, "store/catalog.duckdb")
    shutil.copytree(tmp_path / "store", tmp_path / "moved")
    row = {"block": 1, "sublayer": "attn", "influence": 0.5, "n_tokens": 4}
    rows = pa.Table.from_pylist([row], TABLES["influence"].schema)
    store.write(influence_file, rows, "influence", store.provenance("score_influences", {}))
    query = "SELECT model, block, influence FROM influence"
    where = {"file_search_path": str(tmp_path / "moved")}
    with duckdb.connect("moved/catalog.duckdb", read_only=True, config=where) as catalog:
        assert catalog.sql(query).fetchall() == [("7", 0, 0.5)]
    monkeypatch.chdir(tmp_path / "moved")
    with duckdb.connect("catalog.duckdb", read_only=True) as catalog:
        assert catalog.sql(query).fetchall() == [("7", 0, 0.5)]


def test_the_catalog_describes_rows_and_columns(influence_file: Path, tmp_path: Path) -> None:
    build_catalog({"influence": [str(influence_file)]}, str(tmp_path / "catalog.duckdb"))
    with duckdb.connect(str(tmp_path / "catalog.duckdb"), read_only=True) as catalog:
        views = catalog.sql("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal")
        assert views.fetchall() == [("influence", TABLES["influence"].grain)]
        columns = catalog.sql(
            "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'influence'"
        )
        meanings = {column.name: column.meaning for column in TABLES["influence"].columns}
        assert {name: said for name, said in columns.fetchall() if said} == meanings


def test_the_catalog_replaces_that_of_a_killed_job(influence_file: Path, tmp_path: Path) -> None:
    tables = {"influence": [str(influence_file)]}
    (tmp_path / ".catalog.duckdb.1.part").write_bytes(b"half a database")
    (tmp_path / ".catalog.duckdb.1.part.wal").write_bytes(b"and its log")
    for _ in range(2):
        build_catalog(tables, str(tmp_path / "catalog.duckdb"))
    assert {file.name for file in tmp_path.iterdir() if file.is_file()} == {"catalog.duckdb"}
