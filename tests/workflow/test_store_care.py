"""What `make orphans` lists, and so may remove: artifacts that no rule writes, nothing else."""

import subprocess
from pathlib import Path

import pytest

from prunescope.workflow import records, store_care


def made(*files):
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("made")


def test_exports_and_other_stores_are_no_orphans(tmp_path, monkeypatch):
    """Of a folder that a rule writes, everything is reached; a link may lead nowhere."""
    monkeypatch.chdir(tmp_path)
    made("store/influence/model=m/part.parquet", "store/influence/model=gone/part.parquet")
    made("store/inputs/model=m/config.json", "results/exports/m/drop-2b/prunescope.json")
    made("results/exports/m/drop-2b/model.safetensors", "store/other/edits/a.safetensors")
    records.claim("store/other", ".snakemake")
    Path("store/inputs/model=gone").mkdir()
    Path("store/inputs/model=gone/model.safetensors").symlink_to(tmp_path / "nowhere")
    reached = ["store/influence/model=m/part.parquet", "store/inputs/model=m"]
    left = store_care.orphans([Path("store"), Path("results")], reached)
    assert list(map(str, left)) == [
        "store/influence/model=gone/part.parquet",
        "store/inputs/model=gone/model.safetensors",
    ]
    monkeypatch.setattr(store_care, "reached_by", lambda _: reached)
    assert store_care.main(["orphans", "store", "results", "--remove"]) == 0
    assert not store_care.orphans([Path("store"), Path("results")], reached)


def test_a_plan_without_outputs_makes_no_orphans(monkeypatch):
    """Everything would be one."""
    empty = subprocess.CompletedProcess([], 0, stdout="output_file\tdate\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: empty)
    with pytest.raises(SystemExit, match="names no output"):
        store_care.reached_by([])
