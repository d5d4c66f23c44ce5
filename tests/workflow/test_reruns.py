"""What re-runs after a change: exactly what the change can alter.

Each test edits the copy in which the tiny run ended, asks for the plan, and puts things back.
"""

import contextlib
import re

import pytest

from planned import DECODED, Planned
from tiny_run import TINY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny_run")]

CONFIG = "tests/config.tiny.yaml"
DONE = {"build_report": 1, "build_catalog": 1}
DROPS = ("sublayer_drop", "block_drop")
WEIGHTS = ("magnitude", "wanda", "sparsegpt", "neuron", "rtn", "awq")


@pytest.fixture(scope="module")
def planned(tiny_run):
    return Planned(tiny_run.folder, CONFIG)


def below_compression(planned, variants):
    """Jobs that follow from these variants' edits, by rule."""
    jobs = {
        "measure_variant": planned.variants("variant_cost"),
        "trace_sublayers": planned.variants("sublayer_trace", "logit_shift", "deviation"),
        "estimate_deviations": planned.variants("deviation"),
        "trace_decoding": planned.variants(*DECODED),
        "estimate_decoding": planned.variants("decoding_deviation"),
        "split_attention_error": planned.variants("attention_error"),
        "run_retrieval": planned.variants("retrieval_scores", "retrieval_samples"),
        "run_matched_formats": planned.variants("matched_samples"),
    }
    counts = {rule: len(found & variants) for rule, found in jobs.items()}
    evaluations = [(model, variant) for model, variant, _ in planned.evaluations()]
    counts["run_lm_eval"] = sum(pair in variants for pair in evaluations)
    return {
        "compress_model": len(variants),
        **{rule: count for rule, count in counts.items() if count},
        "draw_figure": planned.n_showing(variants),
        **DONE,
    }


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


def test_one_more_temperature_traces_again(tiny_run, planned):
    """Traces and below: no compression, no answers."""
    tables = ("sublayer_trace", "logit_shift", "deviation")
    with tiny_run.edited(CONFIG, "temperatures: [0.5, 1.0]", "temperatures: [0.5, 1.0, 2.0]"):
        assert tiny_run.plan(*TINY) == {
            "trace_sublayers": len(planned.variants(*tables)),
            "estimate_deviations": len(planned.variants("deviation")),
            "trace_decoding": len(planned.variants(*DECODED)),
            "estimate_decoding": len(planned.variants("decoding_deviation")),
            "draw_figure": planned.n_figures(*tables, *DECODED),
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


def test_an_edited_view_draws_the_figures_that_read_it_again(tiny_run):
    """Figures 1 and 10 and retrieval read what was dropped."""
    with tiny_run.edited("reports/views/drop_sizes.sql", "0 AS n_drop", "1 - 1 AS n_drop"):
        assert tiny_run.plan(*TINY) == {"draw_figure": 3, "build_report": 1}


def test_a_new_style_builds_the_report_again(tiny_run):
    with tiny_run.edited("reports/style.css", "{", "{ /* new */ "):
        assert tiny_run.plan(*TINY) == {"build_report": 1}


def test_edited_theory_is_estimated_again(tiny_run, planned):
    file = tiny_run.folder / "scripts/prunescope/theory.py"
    line = re.search(r"^    return .+\n", file.read_text(encoding="utf-8"), re.MULTILINE)[0]
    with tiny_run.edited("scripts/prunescope/theory.py", line, line.replace("return ", "return +")):
        assert tiny_run.plan(*TINY) == {
            "estimate_deviations": len(planned.variants("deviation")),
            "estimate_decoding": len(planned.variants("decoding_deviation")),
            "draw_figure": planned.n_figures("deviation", "decoding_deviation"),
            **DONE,
        }


def compressed(planned, *methods):
    """Every variant of these methods that a figure reads anything of."""
    tables = {table for figure in planned.figures.values() for table in figure["reads"]}
    return planned.of_methods(planned.variants(*tables), *methods)


def test_an_edited_method_compresses_its_own_variants_again(tiny_run, planned):
    with tiny_run.edited(
        "scripts/prunescope/methods/block_drop.py", '("block",)', '("block", "x")'
    ):
        variants = compressed(planned, "block_drop")
        assert tiny_run.plan(*TINY) == below_compression(planned, variants)


def test_an_edited_way_through_blocks_compresses_weights_again(tiny_run, planned):
    """Methods that read weights, and what follows; no drop, no trace of a drop."""
    with tiny_run.edited(
        "scripts/prunescope/blockwise.py", "SAMPLED_TOKENS = 128", "SAMPLED_TOKENS = 64"
    ):
        variants = compressed(planned, *WEIGHTS)
        assert tiny_run.plan(*TINY) == below_compression(planned, variants)


def test_other_thresholds_judge_texts_again(tiny_run, planned):
    """What is written stays; the tables of one job are made together."""
    with tiny_run.edited("config.yaml", "least_tokens: 24", "least_tokens: 25"):
        plan = tiny_run.plan(*TINY)
    assert plan["trace_decoding"] == len(planned.variants(*DECODED))
    assert "compress_model" not in plan
    assert "trace_sublayers" not in plan


def test_another_number_type_of_passes_compresses_weights_again(tiny_run, planned):
    with tiny_run.edited(
        CONFIG, "\ndecoding", "\ncompression: {forward_dtype: bfloat16}\ndecoding"
    ):
        assert tiny_run.plan(*TINY)["compress_model"] == len(compressed(planned, *WEIGHTS))


def test_another_calibration_seed_compresses_again(tiny_run, planned):
    """Everything from calibration on, and the answers, which are sampled; nothing is fetched."""
    with tiny_run.edited(CONFIG, "\ndefault_model", "\nseed: 1\ndefault_model"):
        assert tiny_run.plan(*TINY) == {
            "sample_calibration": 1,
            "score_influences": 1,
            "generate_dense": 1,
            **below_compression(planned, compressed(planned, *DROPS, *WEIGHTS)),
            "run_matched_formats": len(planned.variants("matched_samples")),  # seeded distractors
            "draw_figure": len(planned.figures),
        }
