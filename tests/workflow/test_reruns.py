"""What re-runs after a change: exactly what the change can alter.

Each test edits the copy in which the tiny run ended, asks for the plan, and puts things back.
"""

import contextlib
import re

import pytest
import yaml

from tiny_run import TINY

pytestmark = pytest.mark.slow

CONFIG = "tests/config.tiny.yaml"
DONE = {"build_report": 1, "build_catalog": 1}
SWEEP, EACH = 6, 1  # drop-1a to drop-2b, drop-each
WEIGHTS = 12  # magnitude, wanda and sparsegpt three times each, neuron, rtn, awq
TRACED = 2  # drop-each, wanda-50
MEASURED = 4  # ext_compression_cost


def figures_reading(checkout, *tables):
    """How many figures of config read at least one of these tables."""
    config = yaml.safe_load((checkout.folder / "config.yaml").read_text(encoding="utf-8"))
    return sum(any(table in f["reads"] for table in tables) for f in config["figures"].values())


def test_second_run_does_nothing(tiny_run):
    assert tiny_run.plan(*TINY) == {}


def test_touching_everything_does_nothing(tiny_run):
    """A branch switch and back leaves new times and old contents, in source and store alike."""
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
    ("scripts/prunescope/metrics.py", "\n", "\n# A comment.\n"),
    ("scripts/prunescope/theory.py", '"""', '"""Another docstring. '),
    ("scripts/prunescope/store.py", "\n", "\nCARRIES_NUMBERS_ONLY = True\n"),
    ("scripts/trace_sublayers.py", "\n", "\n\n# A comment.\n"),
    (f"{FIG04}.sql", "SELECT", "-- A comment.\nSELECT"),
    (f"{FIG04}.py", "\ndef draw", "\n# A comment.\ndef draw"),
]


def test_comments_anywhere_do_nothing(tiny_run):
    with contextlib.ExitStack() as edits:
        for file, old, new in COMMENTS:
            edits.enter_context(tiny_run.edited(file, old, new))
        assert tiny_run.plan(*TINY) == {}


def test_a_model_no_figure_reads_runs_nothing(tiny_run):
    other = "\nmodels:\n  other:\n    source: {from: path, path: nowhere}\n    n_blocks: 3\n"
    with tiny_run.edited(CONFIG, "\nmodels:\n", other + "    dtype: float32\n"):
        assert tiny_run.plan(*TINY) == {}


def test_one_more_temperature_traces_again(tiny_run):
    """Traces and below: no compression, no answers."""
    with tiny_run.edited(CONFIG, "temperatures: [0.5, 1.0]", "temperatures: [0.5, 1.0, 2.0]"):
        assert tiny_run.plan(*TINY) == {
            "trace_sublayers": TRACED,
            "estimate_deviations": EACH,
            "draw_figure": figures_reading(tiny_run, "sublayer_trace", "logit_shift", "deviation"),
            **DONE,
        }


def test_a_longer_sweep_compresses_the_new_variants(tiny_run):
    with tiny_run.edited(
        CONFIG, "drop-{n_drop}a: {n_drop: [1, 2]", "drop-{n_drop}a: {n_drop: [1, 2, 3]"
    ):
        assert tiny_run.plan(*TINY) == {
            "compress_model": 1,
            "draw_figure": 1,  # ext_influence
            **DONE,
        }


@pytest.mark.parametrize(
    ("ending", "old", "new"),
    [
        ("py", "(rows", "(rows, *_"),
        ("py", '"""', '"""Another caption. '),
        ("sql", "ORDER BY ALL", "ORDER BY ALL DESC"),
    ],
    ids=["chart", "caption", "query"],
)
def test_an_edited_figure_is_drawn_again(tiny_run, ending, old, new):
    with tiny_run.edited(f"{FIG04}.{ending}", old, new):
        assert tiny_run.plan(*TINY) == {"draw_figure": 1, "build_report": 1}


def test_a_new_style_builds_the_report_again(tiny_run):
    with tiny_run.edited("reports/style.css", "{", "{ /* new */ "):
        assert tiny_run.plan(*TINY) == {"build_report": 1}


def test_edited_theory_is_estimated_again(tiny_run):
    file = tiny_run.folder / "scripts/prunescope/theory.py"
    line = re.search(r"^    return .+\n", file.read_text(encoding="utf-8"), re.MULTILINE)[0]
    with tiny_run.edited("scripts/prunescope/theory.py", line, line.replace("return ", "return +")):
        assert tiny_run.plan(*TINY) == {
            "estimate_deviations": EACH,
            "draw_figure": figures_reading(tiny_run, "deviation"),
            **DONE,
        }


def test_an_edited_method_compresses_its_own_variants_again(tiny_run):
    with tiny_run.edited(
        "scripts/prunescope/methods/block_drop.py", '("block",)', '("block", "x")'
    ):
        assert tiny_run.plan(*TINY) == {
            "compress_model": 2,
            "measure_variant": 1,  # drop-1b
            "draw_figure": 2,  # ext_influence, ext_compression_cost
            **DONE,
        }


def test_an_edited_way_through_blocks_compresses_weights_again(tiny_run):
    """Methods that read weights, and what follows; no drop, no trace of a drop."""
    with tiny_run.edited(
        "scripts/prunescope/blockwise.py", "SAMPLED_TOKENS = 128", "SAMPLED_TOKENS = 64"
    ):
        assert tiny_run.plan(*TINY) == {
            "compress_model": WEIGHTS,
            "trace_sublayers": 1,
            "measure_variant": 2,
            "draw_figure": 3,  # ext_output_error, ext_compression_cost, fig13
            **DONE,
        }


def test_another_number_type_of_passes_compresses_weights_again(tiny_run):
    with tiny_run.edited(
        CONFIG, "\ndecoding", "\ncompression: {forward_dtype: bfloat16}\ndecoding"
    ):
        assert tiny_run.plan(*TINY)["compress_model"] == WEIGHTS


def test_another_seed_calibrates_again(tiny_run):
    """Everything from calibration on, but neither fetching nor the dense model's answers."""
    with tiny_run.edited(CONFIG, "\ndefault_model", "\nseed: 1\ndefault_model"):
        config = yaml.safe_load((tiny_run.folder / "config.yaml").read_text(encoding="utf-8"))
        assert tiny_run.plan(*TINY) == {
            "sample_calibration": 1,
            "score_influences": 1,
            "compress_model": SWEEP + EACH + WEIGHTS,
            "measure_variant": MEASURED,
            "trace_sublayers": TRACED,
            "estimate_deviations": EACH,
            "draw_figure": len(config["figures"]),
            **DONE,
        }
