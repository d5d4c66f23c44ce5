"""tests/config.tiny.yaml from nothing to the report."""

import fcntl
import json

import duckdb
import pytest
import yaml

from prunescope import store
from tiny_run import TINY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny_run")]


@pytest.fixture(scope="module")
def folder(tiny_run):
    return tiny_run.folder


def test_report_is_one_file_with_every_figure(folder):
    """No link leaves the page, and each figure of config stands in it."""
    page = (folder / "results/tiny/report.html").read_text(encoding="utf-8")
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert all(figure in page for figure in config["figures"])
    assert "<script src" not in page
    assert '<link rel="stylesheet"' not in page


def test_catalog_answers_from_anywhere(folder, monkeypatch, tmp_path):
    """One view per table, partition keys as text."""
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(str(folder / "store/tiny/catalog.duckdb"), read_only=True) as catalog:
        views = {
            name
            for (name,) in catalog.sql(
                "SELECT view_name FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
        }
        assert {
            "influence",
            "compression_report",
            "sublayer_trace",
            "logit_shift",
            "deviation",
        } <= views
        kinds = catalog.sql("SELECT DISTINCT model, variant FROM sublayer_trace").fetchall()
    assert sorted(kinds) == [("tiny", "drop-each"), ("tiny", "wanda-50")]


def test_every_artifact_says_what_made_it(folder):
    files = sorted((folder / "store/tiny").rglob("part.parquet"))
    rules = {store.read_provenance(file)["rule"] for file in files}
    assert rules == {
        "fetch_corpus",
        "sample_calibration",
        "score_influences",
        "compress_model",
        "generate_dense",
        "measure_variant",
        "trace_sublayers",
        "estimate_deviations",
        "trace_decoding",
        "split_attention_error",
        "estimate_decoding",
        "run_lm_eval",
        "run_retrieval",
        "run_matched_formats",
    }


def test_nothing_half_made_is_left(folder):
    left = [
        path for path in (folder / "store/tiny").rglob(".*") if path.name != ".snakemake_timestamp"
    ]
    assert not left


def test_every_job_left_its_log_and_its_time(folder):
    logs = sorted((folder / "logs/tiny").rglob("*.log"))
    assert len(logs) > 20
    for log in logs:
        assert log.with_suffix(".seconds.tsv").is_file(), log
        assert "took" in log.read_text(encoding="utf-8"), log


def test_an_export_is_made_on_request(tiny_run):
    """Named in config: written, with its proof; not named: said in one line."""
    run = tiny_run.snakemake(
        "export", "--cores", "2", *TINY, "--config", "export={variant: [drop-2b]}"
    )
    assert run.returncode == 0, run.stdout + run.stderr
    folder = tiny_run.folder / "results/tiny/exports/tiny/drop-2b"
    assert json.loads((folder / "prunescope.json").read_text())["proof"]["largest_difference"] == 0
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 1
    assert "make export VARIANT=" in tiny_run.snakemake("export", "--cores", "2", *TINY).stderr


def test_a_killed_run_does_not_lock_the_next_one_out(tiny_run):
    """What Snakemake leaves when it is killed: its lock files, and no report."""
    report = tiny_run.folder / "results/tiny/report.html"
    for kind in ("input", "output"):
        left = tiny_run.folder / f".snakemake/locks/0.{kind}.lock"
        left.parent.mkdir(exist_ok=True)
        left.write_text("results/tiny/report.html", encoding="utf-8")
    report.unlink()
    run = tiny_run.snakemake("--cores", "2", *TINY)
    assert run.returncode == 0, run.stdout + run.stderr
    assert report.is_file()


def test_two_runs_do_not_work_in_one_folder(tiny_run):
    """The second says which process is in its way."""
    report = tiny_run.folder / "results/tiny/report.html"
    with (tiny_run.folder / ".snakemake/prunescope.lock").open("a+", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run = tiny_run.snakemake("--cores", "2", *TINY, "--forcerun", "build_report")
    assert run.returncode != 0
    assert "already runs this workflow" in run.stderr
    assert report.is_file()
