"""The catalog opens in DuckDB from any directory, one described view per table."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from build_catalog import build_catalog
from prunescope import store
from prunescope.schemas import TABLES


@pytest.fixture
def influence_file(tmp_path: Path) -> Path:
    """One row of `influence`, of a model whose name looks like a number."""
    file = tmp_path / "store/influence/model=7/part.parquet"
    row = {"block": 0, "sublayer": "attn", "influence": 0.5, "n_tokens": 4}
    rows = pa.Table.from_pylist([row], TABLES["influence"].schema)
    store.write(file, rows, "influence", store.provenance("score_influences", {}))
    return file


def test_catalog_answers_from_any_directory(
    influence_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = str(influence_file.relative_to(tmp_path))
    build_catalog({"influence": [relative]}, str(tmp_path / "catalog.duckdb"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with duckdb.connect(str(tmp_path / "catalog.duckdb"), read_only=True) as catalog:
        found = catalog.sql("SELECT model, block, influence FROM influence").fetchall()
    assert found == [("7", 0, 0.5)]


def test_catalog_says_what_rows_and_columns_mean(influence_file: Path, tmp_path: Path) -> None:
    build_catalog({"influence": [str(influence_file)]}, str(tmp_path / "catalog.duckdb"))
    with duckdb.connect(str(tmp_path / "catalog.duckdb"), read_only=True) as catalog:
        views = catalog.sql("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal")
        assert views.fetchall() == [("influence", TABLES["influence"].grain)]
        columns = catalog.sql(
            "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'influence'"
        )
        meanings = {column.name: column.meaning for column in TABLES["influence"].columns}
        assert {name: said for name, said in columns.fetchall() if said} == meanings


def test_catalog_is_built_anew_over_what_a_killed_job_left(
    influence_file: Path, tmp_path: Path
) -> None:
    tables = {"influence": [str(influence_file)]}
    (tmp_path / ".catalog.duckdb.1.part").write_bytes(b"half a database")
    for _ in range(2):
        build_catalog(tables, str(tmp_path / "catalog.duckdb"))
    assert {file.name for file in tmp_path.iterdir() if file.is_file()} == {"catalog.duckdb"}
