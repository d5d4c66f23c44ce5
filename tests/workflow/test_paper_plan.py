"""paper.yaml plans its whole job list with no network and nothing in the store."""

import pytest

from tiny_run import Checkout

FIGURES = 15
MODELS = 4
SWEEP = 18  # 1, 2, 4, 6, 8, 12 attention, MLP and block drops: ext_influence
EACH = 1  # drop-each, traced
WEIGHTS = 12  # magnitude, wanda, sparsegpt three times each, neuron, rtn, awq: ext_output_error
MEASURED = 14  # seven drops and seven of the others: ext_compression_cost


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("paper") / "prunescope")


def test_paper_plan(checkout):
    """Four models are influenced and traced; other figures read the default model alone."""
    assert checkout.plan("--configfile", "paper.yaml") == {
        "fetch_model": MODELS,
        "fetch_corpus": 1,
        "sample_calibration": MODELS,
        "score_influences": MODELS,
        "compress_model": MODELS * (SWEEP + EACH) + WEIGHTS,
        "generate_dense": MODELS,
        "measure_variant": MEASURED,
        "trace_sublayers": MODELS + 1,  # wanda-50
        "estimate_deviations": 1,
        "draw_figure": FIGURES,
        "build_report": 1,
        "build_catalog": 1,
    }


def test_slurm_profile_plans_the_same(checkout):
    overlay = ("--configfile", "paper.yaml")
    slurm = checkout.plan(*overlay, "--workflow-profile", "profiles/slurm")
    assert slurm == checkout.plan(*overlay)


def test_one_figure_takes_only_what_it_needs(checkout):
    """No estimates, no sweep, one model beside the default where the figure compares none."""
    plan = checkout.plan("results/figures/fig05_orthogonal_magnitude_block14.json")
    assert plan == {
        "fetch_model": 1,
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
