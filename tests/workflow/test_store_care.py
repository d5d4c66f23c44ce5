"""`make verify` names what is damaged; `make orphans` lists artifacts that no rule writes."""

import random
import subprocess
from pathlib import Path

import pytest

import build_catalog
import build_report
from prunescope.storage import store
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
    made("results/bundle/ro-crate-metadata.json", "results/bundle/figures/fig04.parquet")
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


@pytest.mark.parametrize("name", ["store/catalog.duckdb", "results/report.html", "store/a.json"])
def test_any_flipped_bit_is_verified(tmp_path, name):
    """Of a catalog, a page and a manifest, one bit of each of many bytes."""
    file = tmp_path / name
    store.write_json(tmp_path / "store/a.json", {"a": 1})
    build_catalog.build_catalog({}, str(tmp_path / "store/catalog.duckdb"))
    settings = {"prompts": {}}
    build_report.build_report([], [], [], {}, [], settings, str(tmp_path / "results/report.html"))
    folders = [tmp_path / "store", tmp_path / "results"]
    assert list(store_care.faults(folders)) == []
    content, drawn = file.read_bytes(), random.Random(1)
    for place in sorted(drawn.sample(range(len(content)), 40)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << drawn.randrange(8)
        file.write_bytes(damaged)
        (fault,) = store_care.faults(folders)
        assert fault.startswith(f"{file} is damaged"), place


def test_a_link_that_leads_nowhere_is_a_fault(tmp_path):
    """A file of a model whose manifest is gone, too."""
    (tmp_path / "inputs/model=m").mkdir(parents=True)
    (tmp_path / "inputs/model=m/model.safetensors").symlink_to(tmp_path / "nowhere")
    (fault,) = store_care.faults([tmp_path])
    assert "model.safetensors is damaged" in fault


def test_a_plan_without_outputs_gives_no_orphans(monkeypatch):
    """Everything would be one."""
    empty = subprocess.CompletedProcess([], 0, stdout="output_file\tdate\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: empty)
    with pytest.raises(SystemExit, match="names no output"):
        store_care.reached_by([])
