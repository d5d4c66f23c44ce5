"""Snakemake's records of artifacts are kept in the store; those of the own folder have priority."""

import base64
import json
import os
import shutil
from pathlib import Path

import pytest
from snakemake.persistence import RECORD_FORMAT_VERSION
from snakemake.persistence.file import FilePersistence

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
    record.write_text(json.dumps({"params": said, "record_format_version": RECORD_FORMAT_VERSION}))
    return record


def said(record):
    return json.loads(record.read_text())["params"]


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
    kept = [said(file) for file in Path(".snakemake/metadata").rglob("*") if file.is_file()]
    assert kept == ["seed 0"]
    assert Path(".snakemake/incomplete").is_dir()


def test_own_records_have_priority_after_a_killed_run(here):
    """The copy in the store is from the run before."""
    run()
    record = recorded(".snakemake/metadata", TABLE, "seed 1")
    records.take_over("store", ".snakemake")
    assert said(record) == "seed 1"


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


def test_marks_and_records_bear_the_names_that_snakemake_gives_them(here):
    """Of short paths, and of paths whose names continue in a folder."""
    for length in (10, 250, 600):
        file = f"store/{'x' * length}/model=m/part.parquet"
        (mark,) = [records._record_name(file)]
        assert str(Path("folder") / mark) == FilePersistence._record_path(_Limit, "folder", file)


class _Limit:
    """Stands for Snakemake's own keeper of records."""

    @staticmethod
    def _fetch_max_len(subject):
        return 255


def marked():
    """Artifacts that Snakemake will take for incomplete."""
    marks = Path(".snakemake/incomplete")
    return {records._artifact_path(file, marks) for file in marks.rglob("*") if file.is_file()}


@pytest.mark.parametrize("content", [b"", b'{"params": "se', b"\xff{}", b"[]", b"{}", "old"])
def test_an_artifact_whose_record_a_power_cut_took_is_made_again(here, content):
    """Snakemake itself would ignore such a record, and take the artifact for up to date."""
    run()
    record = recorded(".snakemake/metadata", TABLE, "seed 0")
    old = json.dumps({"params": [], "record_format_version": RECORD_FORMAT_VERSION - 1})
    record.write_bytes(old.encode() if content == "old" else content)
    assert records.doubt("store", "results", ".snakemake") == [TABLE]
    assert TABLE in marked()
    assert not record.exists()
    assert records.doubt("store", "results", ".snakemake") == []  # said once


def test_whole_records_and_marked_artifacts_are_no_reason_for_doubt(here, capsys):
    run()
    made("store/tiny-inputs/model/config.json")  # not an artifact, but a source kept there
    made("results/report.html")
    os.utime("results/report.html", (0, 0))  # of a failed run
    assert records.doubt("store", "results", ".snakemake") == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "file",
    [
        "store/catalog.duckdb",
        "results/figures/fig04.json",
        "results/report.html",
        "results/exports/m/drop-2b/prunescope.json",
    ],
)
def test_results_from_elsewhere_are_made_again(here, file, capsys):
    """A figure drawn with other settings would stay in the report; it has no record here."""
    run()
    made(file)
    assert records.doubt("store", "results", ".snakemake") == [file]
    assert {file, str(Path(file).parent)} <= marked()
    assert f"1 artifacts ({file})" in capsys.readouterr().err


def test_an_artifact_replaced_by_one_from_elsewhere_is_made_again(timed):
    """It is whole, and the record is that of the one that it replaced."""
    first, second = timed
    for file in timed:
        recorded(".snakemake/metadata", str(file), "seed 0")
    assert records.doubt("store", "results", ".snakemake") == []
    _sealed("a.json", 3)
    second.write_bytes(b"")
    third = _sealed("c.json", 4)
    recorded(".snakemake/metadata", str(third), "seed 0")
    assert records.doubt("store", "results", ".snakemake") == [str(first), str(second), str(third)]


def test_after_a_killed_run_its_own_artifacts_are_believed(timed):
    """It has replaced some, and has not come to recording their times."""
    for file in timed:
        recorded(".snakemake/metadata", str(file), "seed 0")
    records.claim("store", ".snakemake")
    _sealed("a.json", 3)
    assert records.doubt("store", "results", ".snakemake") == []


def test_a_run_that_was_planned_beside_another_is_refused(here):
    """The other has made artifacts that the plan does not know of."""
    run()
    planned_on = records.run_state("store")
    records.check_unchanged("store", planned_on)
    records.claim("store", ".snakemake")
    records.leave("store", ".snakemake")
    for state in (planned_on, None):
        with pytest.raises(records.ChangedStoreError, match="Run the same command again"):
            records.check_unchanged("store", state)


def test_a_copied_working_directory_does_not_believe_its_own_records(here):
    """Two checkouts, one copied from the other, work in turn on one store elsewhere."""
    run()
    first = records._identity(Path(".snakemake"))
    assert not records.is_foreign("store", ".snakemake")
    assert not records.is_foreign("no store", ".snakemake")
    shutil.copytree(".snakemake", "copy/.snakemake")
    assert records._identity(Path("copy/.snakemake")) != first
    assert records.is_foreign("store", "copy/.snakemake")
    assert records._identity(Path(".snakemake")) == first
    Path(".snakemake").rename("moved")
    assert records._identity(Path("moved")) == first


def test_a_link_that_leads_nowhere_does_not_end_the_run(timed):
    """A model's folder holds links to files of the user's, which may be gone."""
    Path("store/inputs/model=gone").mkdir(parents=True)
    link = Path("store/inputs/model=gone/model.safetensors")
    link.symlink_to("nowhere")
    recorded(".snakemake/metadata", str(link.parent), "a source")
    records.leave("store", ".snakemake")
    records.doubt("store", "results", ".snakemake")
    assert set(store.read_json("store/.records/times.json")) == {
        str(file.relative_to("store")) for file in timed
    }
