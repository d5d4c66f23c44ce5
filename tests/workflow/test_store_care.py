"""`make orphans` lists exactly the artifacts that no rule writes, which it can remove."""

import subprocess
from pathlib import Path

import pytest

from prunescope.workflow import records, store_care


def made(*files):
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("made")


def test_exports_and_other_stores_are_not_orphans(tmp_path, monkeypatch):
    """All files of a folder that a rule writes belong to it; broken links count as files."""
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


def test_a_plan_without_outputs_gives_no_orphans(monkeypatch):
    """Otherwise all files would be orphans."""
    empty = subprocess.CompletedProcess([], 0, stdout="output_file\tdate\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: empty)
    with pytest.raises(SystemExit, match="names no output"):
        store_care.reached_by([])
