"""tests/config.tiny.yaml runs up to the report, and changes re-run what depends on them.

One file, because workers of pytest-xdist share files, not fixtures: the run is made once. A test of
what re-runs edits the copy in which it ended, asks for the plan, and puts things back.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys

import duckdb
import pytest
import yaml

import browser
from planned import DECODED, Planned, drawn
from prunescope.storage import store
from tiny_run import TINY, Checkout, make_inputs

pytestmark = pytest.mark.slow

CONFIG = "tests/config.tiny.yaml"
DONE = {"build_report": 1, "build_bundle": 1, "build_catalog": 1}
DROPS = ("sublayer_drop", "block_drop")
WEIGHTS = ("magnitude", "wanda", "sparsegpt", "neuron", "rtn", "awq")


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A checkout in which tests/config.tiny.yaml has run once, to its report."""
    checkout = Checkout(tmp_path_factory.mktemp("tiny") / "prunescope")
    make_inputs(checkout.folder / "store/tiny-inputs")
    run = checkout.snakemake("--cores", "2", *TINY)
    assert run.returncode == 0, run.stdout + run.stderr
    return checkout


@pytest.fixture(scope="module")
def folder(tiny_run):
    return tiny_run.folder


@pytest.fixture(scope="module")
def planned(tiny_run):
    return Planned(tiny_run.folder, CONFIG)


def test_the_report_is_one_file_with_every_figure(folder):
    """No link leaves the page, and it contains each figure of config."""
    page = (folder / "results/tiny/report.html").read_text(encoding="utf-8")
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert all(figure in page for figure in config["figures"])
    assert "<script src" not in page
    assert '<link rel="stylesheet"' not in page


@pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_draws_every_chart_without_an_error(folder, tmp_path):
    """From disk, with the network cut; every chart but those that a panel hides holds marks."""
    opened = browser.Opened(folder / "results/tiny/report.html", tmp_path)
    assert opened.errors == []
    shown = re.sub(r'<figure [^>]*hidden="".*?</figure>', "", opened.html, flags=re.DOTALL)
    charts = shown.split('class="chart')[1:]
    assert charts
    for chart in charts:
        drawn_chart, _, _ = chart.partition("<figcaption")
        assert ' mark container"' in drawn_chart, chart[:200]
    for width in (390, 1280, 1920):
        opened.screenshot(tmp_path / f"{width}.png", width)
        assert (tmp_path / f"{width}.png").stat().st_size > 10_000


@pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_shows_the_items(folder, tmp_path):
    opened = browser.Opened(folder / "results/tiny/items.html", tmp_path)
    assert opened.errors == []
    told = re.search(r'id="count"[^>]*>([^<]+)<', opened.html)
    assert told
    assert re.match(r"\d+ of \d+ items|No variant answers", told[1])
    assert opened.html.count("<article>") == int(re.sub(r"\D.*", "", told[1]) or 0)


def test_the_catalog_can_be_queried_in_its_folder(folder, monkeypatch):
    """One view per table; partition keys are text."""
    monkeypatch.chdir(folder / "store/tiny")
    with duckdb.connect("catalog.duckdb", read_only=True) as catalog:
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
        kinds = catalog.sql("SELECT DISTINCT variant, readout FROM sublayer_trace").fetchall()
    assert sorted(kinds) == [
        ("drop-each", "final_norm"),
        ("drop-each", "lm_head"),
        ("wanda-50", "lm_head"),
    ]


def test_every_artifact_has_its_provenance(folder):
    files = sorted((folder / "store/tiny").rglob("part.parquet"))
    rules = {store.read_provenance(file)["rule"] for file in files}
    assert rules == {
        "check_model",
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
        "compare_scores",
        "compare_retrieval",
        "compare_formats",
        "average_histories",
        "correlate_losses",
        "judge_claims",
        "run_retrieval",
        "run_matched_formats",
    }


def test_no_temporary_file_is_left(folder):
    meant = {".snakemake_timestamp", ".lock", ".lock.process", ".records"}
    assert not [path for path in (folder / "store/tiny").rglob(".*") if path.name not in meant]


def test_every_job_has_a_log_and_a_time(folder):
    logs = sorted((folder / "logs/tiny").rglob("*.log"))
    assert len(logs) > 20
    for log in logs:
        assert log.with_suffix(".seconds.tsv").is_file(), log
        assert "took" in log.read_text(encoding="utf-8"), log


def test_exports_are_made_on_request(tiny_run):
    """Those named in config are written with their check; otherwise a line says so."""
    run = tiny_run.snakemake(
        "export", "--cores", "2", *TINY, "--config", "export={variant: [drop-2b]}"
    )
    assert run.returncode == 0, run.stdout + run.stderr
    folder = tiny_run.folder / "results/tiny/exports/tiny/drop-2b"
    proof = json.loads((folder / "prunescope.json").read_text())["proof"]
    assert proof["largest_difference"] <= 1e-5 * proof["largest_logit"]  # sums in another order
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 1
    assert "make export VARIANT=" in tiny_run.snakemake("export", "--cores", "2", *TINY).stderr


def test_advice_is_given_from_the_store(tiny_run, folder):
    """Scores are there for every kind of task; only costs that no figure shows are measured."""
    for task in ("multiple-choice", "generation", "retrieval"):
        asked = ("--config", f'advise={{"task": "{task}"}}', "--", "advise")
        assert set(tiny_run.plan(*TINY, *asked)) <= {"measure_variant", "write_advice", "advise"}
    run = tiny_run.snakemake("--cores", "2", *TINY, *asked)
    assert run.returncode == 0, run.stdout + run.stderr
    (advice,) = (folder / "results/tiny/advice").rglob("retrieval-memory.txt")
    assert advice.read_text(encoding="utf-8") in run.stdout


def test_a_killed_run_does_not_block_the_next_one(tiny_run):
    """Snakemake leaves its lock files and no report."""
    report = tiny_run.folder / "results/tiny/report.html"
    for kind in ("input", "output"):
        left = tiny_run.folder / f".snakemake/locks/0.{kind}.lock"
        left.parent.mkdir(exist_ok=True)
        left.write_text("results/tiny/report.html", encoding="utf-8")
    report.unlink()
    run = tiny_run.snakemake("--cores", "2", *TINY)
    assert run.returncode == 0, run.stdout + run.stderr
    assert report.is_file()


def flipped(file):
    """Change one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)


def test_a_damaged_table_is_named_and_made_anew_by_the_same_command(tiny_run):
    """A figure is to be drawn again; the first run names the table, the second makes it."""
    table = tiny_run.folder / "store/tiny/influence/model=tiny/part.parquet"
    whole = store.read(table, "influence")
    flipped(table)
    (tiny_run.folder / "results/tiny/figures/ext_influence.json").unlink()
    run = tiny_run.snakemake("--cores", "2", *TINY)
    assert run.returncode != 0
    assert "influence/model=tiny/part.parquet is damaged" in run.stderr
    page = tiny_run.folder / "results/tiny/report.html"
    assert "ext_influence waits for compress_model tiny " in page.read_text("utf-8")
    run = tiny_run.snakemake("--cores", "2", *TINY)
    assert run.returncode == 0, run.stdout + run.stderr
    assert store.read(table, "influence").equals(whole)
    assert tiny_run.plan(*TINY) == {}
    table.with_name(".part.parquet.damaged").unlink()


def test_the_report_shows_a_failed_job(tiny_run):
    """It lacks the figure and names the log; the next run completes it."""
    chart = tiny_run.folder / "reports/figures/fig06_theory_block14.py"
    page = tiny_run.folder / "results/tiny/report.html"
    right, whole = chart.read_text("utf-8"), page.read_text("utf-8")
    chart.write_text(right.replace("return ", "return 1 / 0  # "), encoding="utf-8")
    try:
        run = tiny_run.snakemake("--cores", "2", "--keep-going", *TINY)
        assert run.returncode != 0
        incomplete = page.read_text("utf-8")
        assert "This page is incomplete" in incomplete
        assert "logs/tiny/draw_figure/fig06_theory_block14.log" in incomplete
        assert 'data-figure="fig06_theory_block14"' not in incomplete
        assert 'data-figure="fig04_' in incomplete
    finally:
        chart.write_text(right, encoding="utf-8")
    assert tiny_run.plan(*TINY)["build_report"] == 1
    tiny_run.snakemake("--cores", "2", *TINY)
    assert without_times(page.read_text("utf-8")) == without_times(whole)


def without_times(page):
    """The page without its seal and the wall time of the jobs that ran, in all and by rule."""
    untimed = re.sub(r"prunescope-sha256:\w+|jobs that took \d+ minutes|<td>[\d.]+</td>", "", page)
    return untimed.partition("<h3>Wall time by rule</h3>")[0]


def test_a_table_removed_by_hand_is_made_again(tiny_run):
    """Although all files made from it exist."""
    table = tiny_run.folder / "store/tiny/influence/model=tiny/part.parquet"
    content = table.read_bytes()
    table.unlink()
    assert tiny_run.plan(*TINY)["score_influences"] == 1
    table.write_bytes(content)


def test_a_moved_store_is_reused_where_inputs_are_equal(tiny_run, tmp_path):
    """Another seed makes dependent files anew; a store without records is refused."""
    other = Checkout(tmp_path / "other")
    for name in ("store", "results"):
        shutil.copytree(tiny_run.folder / name, other.folder / name, symlinks=True)
    assert "score_influences" not in other.plan(*TINY)
    with other.edited("config.yaml", "seeds: [0]", "seeds: [7]"):
        assert other.plan(*TINY)["sample_calibration"] == 1
    shutil.rmtree(other.folder / "store/tiny/.records")
    shutil.rmtree(other.folder / ".snakemake")
    run = other.snakemake("--dry-run", *TINY)
    assert run.returncode != 0
    assert "were not made by this working directory" in run.stdout + run.stderr


def test_verify_and_orphans_report_the_state_of_a_store(tiny_run):
    """A complete store, a flipped bit, and a table that no rule of the present config writes."""

    def care(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "prunescope.workflow.store_care", *arguments],
            cwd=tiny_run.folder,
            env={**os.environ, "PYTHONPATH": "scripts"},
            capture_output=True,
            text=True,
            check=False,
        )

    kept = ("store/tiny", "results/tiny")
    verified = care("verify", *kept)
    assert (verified.returncode, verified.stdout.strip()) == (0, "0 artifacts damaged.")
    table = tiny_run.folder / "store/tiny/influence/model=tiny/part.parquet"
    content = table.read_bytes()
    flipped(table)
    verified = care("verify", *kept)
    assert verified.returncode == 1
    assert "influence/model=tiny/part.parquet is damaged" in verified.stdout
    table.write_bytes(content)
    left = tiny_run.folder / "store/tiny/influence/model=gone/part.parquet"
    left.parent.mkdir()
    left.write_bytes(content)
    found = care("orphans", "store/tiny", "--snakemake", *TINY)
    assert "influence/model=gone/part.parquet" in found.stdout
    assert "influence/model=tiny/part.parquet" not in found.stdout
    assert left.is_file()
    care("orphans", "store/tiny", "--remove", "--snakemake", *TINY)
    assert not left.is_file()
    assert table.is_file()
    left.parent.rmdir()


@pytest.mark.parametrize("lock", [".snakemake/prunescope.lock", "store/tiny/.lock"])
def test_a_folder_and_a_store_have_one_run_at_a_time(tiny_run, lock):
    """The second run names the process that holds the lock."""
    report = tiny_run.folder / "results/tiny/report.html"
    with (tiny_run.folder / lock).open("a+", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run = tiny_run.snakemake("--cores", "2", *TINY, "--forcerun", "build_report")
    assert run.returncode != 0
    assert "already runs this workflow" in run.stderr
    assert report.is_file()


def below_compression(planned, variants):
    """Jobs that follow from these variants' edits, by rule."""
    jobs = {
        "measure_variant": planned.variants("variant_cost"),
        "trace_decoding": planned.variants(*DECODED),
        "estimate_decoding": planned.variants("decoding_deviation"),
        "split_attention_error": planned.variants("attention_error"),
        "run_retrieval": planned.pairs_with_dense("retrieval_samples", only="retrieval_difference"),
        "run_matched_formats": planned.pairs_with_dense(
            "matched_samples", only="format_difference"
        ),
        "compare_retrieval": planned.variants("retrieval_difference"),
        "compare_formats": planned.variants("format_difference"),
        "average_histories": planned.variants("history_effect"),
    }
    counts = {rule: len(found & variants) for rule, found in jobs.items()}
    traces = {
        "trace_sublayers": planned.traces("sublayer_trace", "logit_shift", "deviation"),
        "estimate_deviations": planned.traces("deviation"),
    }
    for rule, found in traces.items():
        counts[rule] = sum((model, variant) in variants for model, variant, _ in found)
    evaluations = [(model, variant) for model, variant, _ in planned.evaluations()]
    counts["run_lm_eval"] = sum(pair in variants for pair in evaluations)
    compared = planned.comparisons()
    counts["compare_scores"] = sum((model, variant) in variants for model, variant, _ in compared)
    counts["correlate_losses"] = len(planned.correlated(variants))
    return {
        "compress_model": len(variants),
        **{rule: count for rule, count in counts.items() if count},
        **drawn(planned.showing(variants)),
        **({"build_items": 1} if planned.variants("task_scores") & variants else {}),
        **DONE,
    }


def test_a_second_run_does_nothing(tiny_run):
    assert tiny_run.plan(*TINY) == {}


def test_new_times_of_all_files_re_run_nothing(tiny_run):
    """Switching branches back and forth gives old contents new times."""
    for file in tiny_run.folder.rglob("*"):
        if file.is_file() and ".snakemake" not in file.relative_to(tiny_run.folder).parts[0]:
            file.touch()
    assert tiny_run.plan(*TINY) == {}


FIG04 = "reports/figures/fig04_sublayer_similarity"
COMMENTS = [
    ("Snakefile", "\n\n", "\n\n# A comment.\n"),
    ("config.yaml", "\n\n", "\n\n# A comment.\n"),
    (CONFIG, "\n\n", "\n\n# A comment.\n"),
    ("rules/tracing.smk", "\n\n", "\n\n# A comment.\n"),
    (
        "rules/theory.smk",
        "rule estimate_deviations:\n",
        "rule estimate_deviations:  # A comment.\n",
    ),
    ("scripts/prunescope/measures/metrics.py", "\n", "\n# A comment.\n"),
    ("scripts/prunescope/theory/estimates.py", '"""', '"""Another docstring. '),
    ("scripts/prunescope/storage/store.py", "\n", "\nCARRIES_NUMBERS_ONLY = True\n"),
    ("scripts/trace_sublayers.py", "\n", "\n\n# A comment.\n"),
    (f"{FIG04}.sql", "SELECT", "-- A comment.\nSELECT"),
    (f"{FIG04}.py", "\ndef draw", "\n# A comment.\ndef draw"),
]


def test_new_comments_re_run_nothing(tiny_run):
    with contextlib.ExitStack() as edits:
        for file, old, new in COMMENTS:
            edits.enter_context(tiny_run.edited(file, old, new))
        assert tiny_run.plan(*TINY) == {}


def test_a_model_that_no_figure_reads_runs_nothing(tiny_run):
    other = "\nmodels:\n  other:\n    source: {from: path, path: nowhere}\n    n_blocks: 3\n"
    with tiny_run.edited(CONFIG, "\nmodels:\n", other + "    dtype: float32\n"):
        assert tiny_run.plan(*TINY) == {}


def test_another_temperature_re_runs_traces(tiny_run, planned):
    """With all that follows, but no compression and no answers."""
    tables = ("sublayer_trace", "logit_shift", "deviation")
    with tiny_run.edited(CONFIG, "temperatures: [0.5, 1.0]", "temperatures: [0.5, 1.0, 2.0]"):
        assert tiny_run.plan(*TINY) == {
            "trace_sublayers": len(planned.traces(*tables)),
            "estimate_deviations": len(planned.traces("deviation")),
            "trace_decoding": len(planned.variants(*DECODED)),
            "estimate_decoding": len(planned.variants("decoding_deviation")),
            "average_histories": len(planned.variants("history_effect")),
            "correlate_losses": 1,
            **drawn(planned.reading(*tables, *DECODED)),
            **DONE,
        }


def test_a_longer_sweep_compresses_only_new_variants(tiny_run):
    with tiny_run.edited(
        CONFIG, "drop-{n_drop}a: {n_drop: [1, 2]", "drop-{n_drop}a: {n_drop: [1, 2, 3]"
    ):
        assert tiny_run.plan(*TINY) == {
            "compress_model": 1,
            **drawn({"ext_influence"}),
            **DONE,
        }


@pytest.mark.parametrize(
    ("ending", "old", "new"),
    [
        ("py", "(rows", "(rows, *_"),
        ("py", '"""', '"""Another caption. '),
        ("sql", "ORDER BY model ASC, subject DESC", "ORDER BY model ASC, subject ASC"),
    ],
    ids=["chart", "caption", "query"],
)
def test_an_edited_figure_is_drawn_again(tiny_run, ending, old, new):
    with tiny_run.edited(f"{FIG04}.{ending}", old, new):
        assert tiny_run.plan(*TINY) == {"draw_figure": 1, "build_report": 1, "build_bundle": 1}


def test_an_edited_view_redraws_the_figures_that_read_it(tiny_run):
    """Figures 1 and 10, retrieval, and how far compression goes read the drop sizes."""
    with tiny_run.edited("reports/views/drop_sizes.sql", "0 AS n_drop", "1 - 1 AS n_drop"):
        assert tiny_run.plan(*TINY) == {"draw_figure": 4, "judge_claims": 2, **DONE}


def test_a_new_style_rebuilds_the_report(tiny_run):
    with tiny_run.edited("reports/style.css", "{", "{ /* new */ "):
        assert tiny_run.plan(*TINY) == {"build_report": 1, "build_items": 1}


def test_edited_estimates_are_computed_again(tiny_run, planned):
    file = tiny_run.folder / "scripts/prunescope/theory/estimates.py"
    line = re.search(r"^    return .+\n", file.read_text(encoding="utf-8"), re.MULTILINE)[0]
    with tiny_run.edited(
        "scripts/prunescope/theory/estimates.py", line, line.replace("return ", "return +")
    ):
        assert tiny_run.plan(*TINY) == {
            "estimate_deviations": len(planned.traces("deviation")),
            "estimate_decoding": len(planned.variants("decoding_deviation")),
            "correlate_losses": 1,
            **drawn(planned.reading("deviation", "decoding_deviation")),
            **DONE,
        }


def compressed(planned, *methods):
    """Every variant of these methods that a figure reads anything of."""
    tables = {table for figure in planned.figures.values() for table in figure["reads"]}
    return planned.of_methods(planned.variants(*tables), *methods)


def test_an_edited_method_re_runs_its_own_variants(tiny_run, planned):
    with tiny_run.edited(
        "scripts/prunescope/compression/methods/block_drop.py",
        'text, search, "block"',
        'text, search, "block" + ""',
    ):
        variants = compressed(planned, "block_drop")
        assert tiny_run.plan(*TINY) == below_compression(planned, variants)


def test_an_edited_block_walk_re_runs_methods_that_read_weights(tiny_run, planned):
    """With all that follows, but no drop and no trace of a drop."""
    with tiny_run.edited(
        "scripts/prunescope/compression/input_collection.py",
        "SAMPLED_TOKENS = 128",
        "SAMPLED_TOKENS = 64",
    ):
        variants = compressed(planned, *WEIGHTS)
        assert tiny_run.plan(*TINY) == below_compression(planned, variants)


def test_other_thresholds_re_run_the_verdicts_of_texts(tiny_run, planned):
    """Answers are kept; all tables of one job are made together."""
    with tiny_run.edited("config.yaml", "least_tokens: 24", "least_tokens: 25"):
        plan = tiny_run.plan(*TINY)
    assert plan["trace_decoding"] == len(planned.variants(*DECODED))
    assert "compress_model" not in plan
    assert "trace_sublayers" not in plan


def test_another_dtype_of_passes_re_runs_methods_that_read_weights(tiny_run, planned):
    with tiny_run.edited(
        CONFIG, "\ndecoding", "\ncompression: {forward_dtype: bfloat16}\ndecoding"
    ):
        assert tiny_run.plan(*TINY)["compress_model"] == len(compressed(planned, *WEIGHTS))


def test_another_calibration_seed_re_runs_calibration_and_answers(tiny_run, planned):
    """With all that follows; answers are sampled. Nothing is fetched again."""
    with tiny_run.edited(CONFIG, "\ndefault_model", "\nseeds: [1]\ndefault_model"):
        assert tiny_run.plan(*TINY) == {
            "sample_calibration": 1,
            "score_influences": 1,
            "generate_dense": 1,
            **below_compression(planned, compressed(planned, *DROPS, *WEIGHTS)),
            "run_matched_formats": len(  # seeded distractors
                planned.pairs_with_dense("matched_samples", only="format_difference")
            ),
            "compare_scores": len(planned.comparisons()),  # seeded resampling, as the next two
            "compare_retrieval": len(planned.variants("retrieval_difference")),
            "compare_formats": len(planned.variants("format_difference")),
            **drawn(set(planned.figures) - planned.reading("model_check")),
        }


def test_a_further_seed_runs_only_its_replicates(tiny_run, planned):
    """Nothing of the first seed is made again, and no figure is drawn; claims are judged anew."""
    with tiny_run.edited(CONFIG, "\ndefault_model", "\nseeds: [0, 1]\ndefault_model"):
        plan = tiny_run.plan(*TINY)
    for rule in ("sample_calibration", "score_influences", "generate_dense"):
        assert plan[rule] == 1, rule
    assert 0 < plan["trace_decoding"] <= len(planned.variants(*DECODED))
    assert 0 < plan["compress_model"] <= len(compressed(planned, *DROPS, *WEIGHTS))
    assert 0 < plan["run_lm_eval"] < len(planned.evaluations())
    assert 0 < plan["judge_claims"] <= drawn(set(planned.figures))["judge_claims"]
    assert "draw_figure" not in plan
