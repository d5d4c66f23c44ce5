"""Overlays leave out and replace entries, and figures follow without being edited."""

import copy

import pytest
import yaml

from prunescope.paths import ROOT
from prunescope.workflow import experiment

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
GREETING = {"greeting": {"kind": "open_ended", "text": "Write a greeting."}}


def plan(**keys):
    return experiment.resolve_with_notes({**copy.deepcopy(CONFIG), **keys}, ROOT)


def variants_read(config):
    return {
        variant
        for figure in config["figures"].values()
        for keys in figure["reads"].values()
        for variant in keys.get("variant", [])
    }


def test_nothing_is_removed_by_default():
    assert plan()[0] == plan(without={"corpora": ["c4"]})[0] | {"corpora": CORPORA}


CORPORA = experiment.resolve(copy.deepcopy(CONFIG), ROOT)["corpora"]


def test_variants_are_left_out_everywhere():
    """By name or pattern; figures that show nothing else are left out, which is said."""
    config, notes = plan(without={"variants": ["awq-4bit", "sparsegpt-*"]})
    before = variants_read(experiment.resolve(copy.deepcopy(CONFIG), ROOT))
    assert before - variants_read(config) == {v for v in before if v.startswith(("awq", "spar"))}
    assert set(CONFIG["figures"]) - set(config["figures"]) == {"fig09_sparsegpt_scores"}
    assert any("fig09_sparsegpt_scores" in note for note in notes)


def test_replaced_variants_are_the_only_ones():
    """Figures keep those of their variants that are left."""
    mine = {"dense": {"method": "identity"}, "drop-{n_drop}a": CONFIG["variants"]["drop-{n_drop}a"]}
    config, _ = plan(replace={"variants": mine})
    assert list(config["variants"]) == ["dense", "drop-1a", "drop-2a", "drop-4a", "drop-8a"]
    assert variants_read(config) <= set(config["variants"])
    assert "fig07_decoding_divergence" in config["figures"]
    assert "fig03_wanda_scores" not in config["figures"]
    assert "fig04_sublayer_similarity" not in config["figures"]  # which reads drop-each


def test_replaced_prompts_are_the_only_ones():
    config, _ = plan(replace={"prompts": GREETING})
    assert config["prompts"] == GREETING
    assert config["figures"]["fig07_decoding_divergence"]["settings"]["prompt"] == "greeting"
    assert set(config["figures"]) == set(CONFIG["figures"])


def test_a_task_is_left_out_of_suites_and_figures():
    config, _ = plan(without={"tasks": ["piqa", "arc_easy"]})
    assert config["suites"]["core"] == ["basic_arithmetic", "basic_code"]
    assert "piqa" not in config["suites"]["full"]
    assert "fig10_inter_layer_scores_by_model" not in config["figures"]  # needs a choice in core
    assert "fig01_inter_layer_scores" in config["figures"]


def test_some_figures_by_their_first_words():
    config, _ = plan(only_figures=["fig04", "fig06_theory_block14"])
    assert list(config["figures"]) == ["fig04_sublayer_similarity", "fig06_theory_block14"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"without": {"variants": ["awq-3bit"]}}, r"without/variants: there is no 'awq-3bit'"),
        ({"without": {"models": ["x"]}}, r"without: .*'models'"),
        ({"replace": {"prompts": {"p": {"kind": "essay", "text": "x"}}}}, r"prompts/p/kind is"),
        ({"replace": {"prompts": GREETING, "seed": {}}}, r"replace: .*'seed'"),
        ({"only_figures": ["fig99"]}, r"only_figures: there is no figure 'fig99'"),
        ({"without": {"figures": ["*"]}}, r"figures: none is left"),
        ({"also": ["all-minilm-l6-v2"]}, r"also is given without `model`"),
        (
            {
                "without": {"variants": ["awq-4bit"]},
                "variant_sets": {"in_table_1": ["dense", "awq-5"]},
            },
            r"no variant 'awq-5'",
        ),
    ],
)
def test_what_cannot_be_removed_is_refused(keys, message):
    """A name that never was is a mistake, also beside one that has been removed."""
    with pytest.raises(experiment.ConfigError, match=message):
        plan(**keys)
