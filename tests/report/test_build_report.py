"""What the report says about its own provenance."""

from pathlib import Path

import pyarrow as pa
import pytest

from prunescope.report import facts
from prunescope.storage import store
from prunescope.tables.schemas import TABLES

ROW = {"block": 0, "sublayer": "attn", "influence": 0.5, "n_tokens": 4}


@pytest.fixture
def made_by(tmp_path: Path):
    """Writes a table as a release of torch would."""

    def write(name: str, torch: str) -> str:
        file = tmp_path / name / "part.parquet"
        how = {"rule": "r", "commit": "c", "packages": {"torch": torch, "numpy": "2.5"}}
        rows = pa.Table.from_pylist([ROW], TABLES["influence"].schema)
        store.write(file, rows, "influence", how)
        return str(file)

    return write


def test_a_single_version_is_given_once(made_by):
    tables = {"influence": [made_by("a", "2.13"), made_by("b", "2.13")]}
    rows = facts.software(tables)
    assert rows[1:] == [("prunescope commit", "c"), ("numpy", "2.5"), ("torch", "2.13")]


def test_several_versions_are_given_by_table(made_by):
    """Commit and numpy are the same everywhere, so that only torch lists tables."""
    tables = {
        "influence": [made_by("a", "2.13"), made_by("b", "2.12"), made_by("c", "2.12")],
        "deviation": [made_by("d", "2.13")],
    }
    assert facts.software(tables)[1:] == [
        ("prunescope commit", "c"),
        ("numpy", "2.5"),
        ("torch", "2.12: influence (2); 2.13: deviation (1), influence (1)"),
    ]
