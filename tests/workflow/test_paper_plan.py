"""paper.yaml is planned without network and with an empty store."""

import pytest
import yaml

from planned import DECODED, Planned, drawn
from tiny_run import Checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("paper") / "prunescope")


def test_the_plan_has_the_expected_jobs(checkout):
    """Influences and traces for four models, embeddings for a fifth; else the default model."""
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
        "compare_scores": len(planned.comparisons()),
        "compare_retrieval": len(planned.variants("retrieval_difference")),
        "compare_formats": len(planned.variants("format_difference")),
        "average_histories": len(planned.variants("history_effect")),
        "correlate_losses": len(planned.compared("loss_correlation")),
        "run_matched_formats": len(
            planned.pairs_with_dense("matched_samples", only="format_difference")
        ),
        "fetch_retrieval_set": 13,
        "run_retrieval": len(
            planned.pairs_with_dense("retrieval_samples", only="retrieval_difference")
        ),
        "trace_decoding": len(planned.variants(*DECODED)),
        "estimate_decoding": len(planned.variants("decoding_deviation")),
        "split_attention_error": len(planned.variants("attention_error")),
        **drawn(set(planned.figures)),
        "build_report": 1,
        "build_items": 1,
        "build_bundle": 1,
        "build_catalog": 1,
    }


def test_a_parent_folder_can_have_the_name_of_a_table(checkout):
    """Outputs of a rule are recognized by their folder within the store alone."""
    overlay = checkout.folder / "elsewhere.yaml"
    overlay.write_text("pathvars: {store: influence/deviation/store}\n", encoding="utf-8")
    usual = checkout.plan("--cores", "1")
    assert checkout.plan("--cores", "1", "--configfile", overlay.name) == usual


def test_figures_read_all_suites_of_the_paper(checkout):
    """A suite that no figure reads would be a mistake."""
    named = yaml.safe_load((checkout.folder / "paper.yaml").read_text(encoding="utf-8"))["suites"]
    figures = Planned(checkout.folder, "paper.yaml").figures.values()
    reads = [keys for figure in figures for keys in figure["reads"].values()]
    assert set(named) <= {suite for keys in reads for suite in keys.get("suite", [])}


def test_the_slurm_profile_gives_the_same_plan(checkout):
    overlay = ("--configfile", "paper.yaml")
    slurm = checkout.plan(*overlay, "--workflow-profile", "profiles/slurm")
    assert slurm == checkout.plan(*overlay)


def test_a_single_figure_plans_only_its_inputs(checkout):
    """For one model, without estimates and without sweeps."""
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


def test_an_invalid_config_stops_before_the_first_job(checkout):
    """The message has one line and no traceback."""
    run = checkout.snakemake("--cores", "1", "--config", "sede=1")
    assert run.returncode != 0
    assert "config: the experiment: there is no key 'sede'. Did you mean 'seeds'?" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (checkout.folder / "store").exists()
