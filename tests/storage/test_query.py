"""Questions to a catalog are answered in text, and mistakes in one line."""

import subprocess
import sys

import pyarrow as pa
import pytest

from build_catalog import build_catalog
from prunescope.paths import SCRIPTS
from prunescope.storage import query, store
from prunescope.tables.schemas import TABLES


@pytest.fixture
def folder(tmp_path):
    """A store with influences of two blocks."""
    rows = [
        {"block": block, "sublayer": sublayer, "influence": 0.1 * (block + 1), "n_tokens": 4}
        for block in range(2)
        for sublayer in ("attn", "mlp")
    ]
    file = tmp_path / "store/influence/model=m/part.parquet"
    table = pa.Table.from_pylist(rows, TABLES["influence"].schema)
    store.write(str(file), table, "influence", store.provenance("score_influences", {}))
    build_catalog({"influence": [str(file)]}, str(tmp_path / "store/catalog.duckdb"))
    return tmp_path / "store"


def asked(folder, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "prunescope.storage.query", str(folder), *arguments],
        cwd=folder.parent.parent,
        env={"PYTHONPATH": str(SCRIPTS), **options.pop("env", {})},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_an_answer_is_a_table_of_text(folder):
    said = query.answer(folder, "SELECT model, max(influence) AS most FROM influence GROUP BY ALL")
    assert "most" in said and "│ m " in said and "0.2" in said


def test_the_catalog_is_read_from_any_folder_and_from_the_environment(folder):
    run = asked(folder, env={"SQL": "SELECT count(*) AS n FROM influence WHERE sublayer = 'mlp'"})
    assert run.returncode == 0, run.stderr
    assert "2" in run.stdout


def test_statements_are_read_until_their_semicolon(folder):
    run = asked(folder, input="SELECT 40\n+ 2 AS n;\nSELECT wrong;\nSELECT 'last' AS word")
    assert "42" in run.stdout and "last" in run.stdout
    assert "wrong" in run.stderr
    assert run.returncode == 1


def test_nothing_can_be_changed(folder):
    run = asked(folder, "CREATE TABLE t AS SELECT 1")
    assert run.returncode == 1
    assert "read-only" in run.stderr


def test_a_missing_catalog_is_told(tmp_path):
    (tmp_path / "a/store").mkdir(parents=True)
    run = asked(tmp_path / "a/store", "SELECT 1")
    assert run.returncode == 1
    assert "`make report` makes it" in run.stderr
    assert "Traceback" not in run.stderr
