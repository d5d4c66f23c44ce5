"""Snakemake's records of artifacts are kept in the store; those of the own folder have priority."""

import base64
import os
import shutil
from pathlib import Path

import pytest

from prunescope.storage import store
from prunescope.workflow import records

TABLE = "store/influence/model=m/part.parquet"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with one table and the record of it."""
    monkeypatch.chdir(tmp_path)
    made(TABLE)
    recorded(".snakemake/metadata", TABLE, "seed 0")
    return tmp_path


def made(file):
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text("a table")


def recorded(folder, file, said):
    """A record as Snakemake names it, cut into two folders."""
    name = base64.urlsafe_b64encode(file.encode()).decode()
    record = Path(folder) / f"@{name[:20]}" / name[20:]
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(said)
    return record


def run():
    records.take_over("store", ".snakemake")
    records.claim("store", ".snakemake")
    records.leave("store", ".snakemake")


def moved_to_another_directory():
    """Everything but the store is gone."""
    Path(".snakemake").rename("elsewhere")


def test_records_are_restored_with_the_store(here):
    """Snakemake does not convert them like those of an old release."""
    run()
    moved_to_another_directory()
    records.take_over("store", ".snakemake")
    kept = [file.read_text() for file in Path(".snakemake/metadata").rglob("*") if file.is_file()]
    assert kept == ["seed 0"]
    assert Path(".snakemake/incomplete").is_dir()


def test_own_records_have_priority_after_a_killed_run(here):
    """The copy in the store is from the run before."""
    run()
    record = recorded(".snakemake/metadata", TABLE, "seed 1")
    records.take_over("store", ".snakemake")
    assert record.read_text() == "seed 1"


def test_an_artifact_without_a_record_is_refused(here):
    run()
    made("store/influence/model=other/part.parquet")
    moved_to_another_directory()
    with pytest.raises(records.ForeignStoreError, match=r"1 artifacts .*model=other"):
        records.take_over("store", ".snakemake")


def test_a_store_of_an_earlier_release_is_accepted_in_its_folder(here):
    made("store/influence/model=other/part.parquet")
    records.take_over("store", ".snakemake")
    moved_to_another_directory()
    with pytest.raises(records.ForeignStoreError, match="2 artifacts"):
        records.take_over("store", ".snakemake")


def test_files_of_a_nested_store_are_not_artifacts(here):
    """Stored embeddings and hidden files are not artifacts either."""
    for file in ("other/edits/a.safetensors", "embeddings/a.safetensors", ".x.json"):
        made(f"store/{file}")
    records.claim("store/other", ".snakemake")
    assert list(map(str, records.files(Path("store")))) == [TABLE]
    assert list(map(str, records.files(Path("store/other")))) == ["store/other/edits/a.safetensors"]


def _sealed(name, value):
    file = Path("store/influence/model=m") / name
    store.write_json(file, {"value": value})
    return file


@pytest.fixture
def timed(here):
    """Two sealed artifacts of a finished run, and their times."""
    Path(TABLE).unlink()
    both = _sealed("a.json", 1), _sealed("b.json", 2)
    run()
    return {file: file.stat().st_mtime_ns for file in both}


def test_a_touched_artifact_gets_back_its_recorded_time(timed):
    """For any size, and also in a copy of the store."""
    shutil.copytree("store", "copied", copy_function=shutil.copyfile)
    for folder in ("store", "copied"):
        for file in timed:
            os.utime(folder / file.relative_to("store"))
        records.restore_times(folder)
        found = [(folder / file.relative_to("store")).stat().st_mtime_ns for file in timed]
        assert found == list(timed.values())


def test_a_changed_artifact_keeps_its_new_time(timed):
    """It was made anew, or its bytes do not match its seal."""
    anew, damaged = timed
    os.utime(_sealed("a.json", 3), ns=(1, 1))
    damaged.write_text(damaged.read_text("utf-8").replace("2", "4", 1), encoding="utf-8")
    os.utime(damaged, ns=(1, 1))
    records.restore_times("store")
    assert {anew.stat().st_mtime_ns, damaged.stat().st_mtime_ns} == {1}


def test_a_damaged_file_of_times_is_set_aside(timed):
    kept = Path("store/.records/times.json")
    kept.write_text("{}", encoding="utf-8")
    for file in timed:
        os.utime(file, ns=(1, 1))
    records.restore_times("store")
    assert {file.stat().st_mtime_ns for file in timed} == {1}
    assert not kept.exists()
