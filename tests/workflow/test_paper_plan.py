"""paper.yaml plans its whole job list with no network and nothing in the store."""

import pytest
import yaml

from planned import DECODED, Planned
from tiny_run import Checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("paper") / "prunescope")


def test_paper_plan(checkout):
    """Four models are influenced and traced, a fifth embeds; others read the default model."""
    planned = Planned(checkout.folder, "paper.yaml")
    models = {model for figure in planned.figures.values() for model in figure["models"]}
    tables = {table for figure in planned.figures.values() for table in figure["reads"]}
    answered = (
        "sublayer_trace",
        "logit_shift",
        "deviation",
        "variant_cost",
        "attention_error",
        *DECODED,
    )
    assert len(models) == 5
    assert checkout.plan("--configfile", "paper.yaml") == {
        "fetch_model": len(models),
        "check_model": len(models),
        "fetch_corpus": 1,
        "sample_calibration": len(models),
        "score_influences": len(models),
        "compress_model": len(planned.variants(*tables)),
        "generate_dense": len({model for model, _ in planned.variants(*answered)}),
        "measure_variant": len(planned.variants("variant_cost")),
        "trace_sublayers": len(planned.traces("sublayer_trace", "logit_shift", "deviation")),
        "estimate_deviations": len(planned.traces("deviation")),
        "fetch_task": len(planned.tasks),
        "run_lm_eval": len(planned.evaluations()),
        "compare_scores": len(planned.compared("score_difference")),
        "run_matched_formats": len(planned.variants("matched_samples")),
        "fetch_retrieval_set": 13,
        "run_retrieval": len(planned.variants("retrieval_samples")),
        "trace_decoding": len(planned.variants(*DECODED)),
        "estimate_decoding": len(planned.variants("decoding_deviation")),
        "split_attention_error": len(planned.variants("attention_error")),
        "draw_figure": len(planned.figures),
        "build_report": 1,
        "build_catalog": 1,
    }


def test_a_folder_on_the_way_to_the_store_may_have_a_tables_name(checkout):
    """What a rule writes is told by its folder in the store, not by any folder of that name."""
    overlay = checkout.folder / "elsewhere.yaml"
    overlay.write_text("pathvars: {store: influence/deviation/store}\n", encoding="utf-8")
    usual = checkout.plan("--cores", "1")
    assert checkout.plan("--cores", "1", "--configfile", overlay.name) == usual


def test_figures_read_the_suites_that_paper_names(checkout):
    """A suite that is written down for the paper and that nothing runs is a slip."""
    named = yaml.safe_load((checkout.folder / "paper.yaml").read_text(encoding="utf-8"))["suites"]
    figures = Planned(checkout.folder, "paper.yaml").figures.values()
    reads = [keys for figure in figures for keys in figure["reads"].values()]
    assert set(named) <= {suite for keys in reads for suite in keys.get("suite", [])}


def test_slurm_profile_plans_the_same(checkout):
    overlay = ("--configfile", "paper.yaml")
    slurm = checkout.plan(*overlay, "--workflow-profile", "profiles/slurm")
    assert slurm == checkout.plan(*overlay)


def test_one_figure_takes_only_what_it_needs(checkout):
    """No estimates, no sweep, one model beside the default where the figure compares none."""
    plan = checkout.plan("results/figures/fig05_orthogonal_magnitude_block14.json")
    assert plan == {
        "fetch_model": 1,
        "check_model": 1,
        "fetch_corpus": 1,
        "sample_calibration": 1,
        "score_influences": 1,
        "compress_model": 1,
        "generate_dense": 1,
        "trace_sublayers": 1,
        "draw_figure": 1,
    }


def test_wrong_config_stops_before_the_first_job(checkout):
    """One line says what is wrong; no traceback, no job."""
    run = checkout.snakemake("--cores", "1", "--config", "sede=1")
    assert run.returncode != 0
    assert "config: the experiment: there is no key 'sede'. Did you mean 'seed'?" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (checkout.folder / "store").exists()
