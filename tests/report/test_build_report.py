"""What the report says about its own provenance."""

import datetime
import os
import platform
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


def test_the_top_of_the_page_says_what_was_run(made_by, tmp_path):
    """The model, today, the machine, and counts that agree with the files."""
    file = tmp_path / "logs/rule/variant=a.seconds.tsv"
    file.parent.mkdir(parents=True)
    file.write_text("s\tmax_rss\n90.0\t10\n30.0\t10\n")
    tables = {"influence": [made_by("variant=a", "2"), made_by("variant=b", "2")]}
    found = dict(facts.run(["x/model=tiny.json"], tables, [str(file.parent)], n_prompts=12))
    assert found["Model"] == "tiny"
    assert found["Page built"] == datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    assert found["On"].endswith(f"{len(os.sched_getaffinity(0))} cores")
    assert found["Size of the run"] == ("2 variants, 12 prompts, 2 jobs that took 2 minutes in all")


def test_the_machine_has_the_name_that_the_kernel_gives(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Fast CPU @ 3: GHz\n")
    assert facts.machine(cpuinfo).startswith("Fast CPU @ 3: GHz, ")
    assert facts.machine(tmp_path / "absent").startswith(platform.machine())


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
