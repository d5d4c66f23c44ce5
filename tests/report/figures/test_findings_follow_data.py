"""Findings state what their numbers say, in either direction."""

import json
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from figure_rows import compared
from prunescope.paths import REPORTS
from prunescope.report.queries import run_query
from prunescope.report.views import with_views
from prunescope.tables.schemas import TABLES

Rows = list[dict[str, Any]]


def findings_of(stem: str, settings: dict[str, Any] | None = None, **tables: Rows) -> list[str]:
    """The findings of a figure over these rows."""
    with duckdb.connect() as connection:
        for name, rows in tables.items():
            keyed = [{"model": "m", "variant": "v", **row} for row in rows]
            schema = TABLES[name].empty().schema
            connection.register(name, pa.Table.from_pylist(keyed, schema))
        sql = with_views((REPORTS / f"figures/{stem}.sql").read_text(encoding="utf-8"))
        _, findings = run_query(connection, sql, settings or {})
    return findings


def the_one(findings: list[str], words: str) -> str:
    """The one finding that contains these words."""
    (finding,) = [each for each in findings if words in each]
    return finding


def divergences(**kl: float) -> Rows:
    """Rows of `decoding_trace` in p: the KL of step 0, later, and later if teacher-forced."""
    places = {
        "first": ("free_running", 0),
        "later": ("free_running", 20),
        "forced": ("teacher_forced", 20),
    }
    return [
        {"prompt": "a", "sampling_temperature": 0.0, "temperature": 1.0, "space": "probability"}
        | {"history": places[name][0], "step": places[name][1]}
        | {"angular_deviation": value / 10, "kl_divergence": value}
        for name, value in kl.items()
    ]


@pytest.mark.parametrize(
    ("first", "later", "forced", "words"),
    [
        (0.1, 4.0, 0.1, "the rise comes from tokens on which the texts differ."),
        (0.1, 4.0, 1.0, "part of the rise comes from tokens on which the texts differ."),
        (0.1, 1.0, 2.0, "tokens on which the texts differ do not explain the rise."),
        (2.0, 1.0, 0.5, "KL does not rise after the first step."),
    ],
)
def test_a_rise_of_kl_is_explained_only_if_there_is_one(first, later, forced, words):
    trace = divergences(first=first, later=later, forced=forced)
    findings = findings_of(
        "fig07_decoding_divergence",
        {"prompt": "a"},
        decoding_trace=trace,
        decoding_deviation=[],
        noise_floor=[],
    )
    finding = the_one(findings, "teacher-forced")
    assert finding.endswith(f": {words}")


def test_kinds_of_compression_are_also_compared_under_free_running():
    trace = [
        {**row, "variant": variant}
        for variant, later, forced in (("awq-4bit", 1.0, 0.1), ("drop-8a", 9.0, 2.0))
        for row in divergences(later=later, forced=forced)
    ]
    runs = [
        {"variant": "awq-4bit", "method": "awq"},
        {"variant": "drop-8a", "method": "sublayer_drop"},
    ]
    findings = findings_of(
        "fig12_compression_methods",
        {"prompt": "a"},
        decoding_trace=trace,
        decoding_shift=[],
        compression_run=runs,
        noise_floor=[],
    )
    (finding,) = findings
    assert finding.endswith("is 0.1 and 1 nats for awq-4bit, 2 and 9 nats for drop-8a.")


@pytest.mark.parametrize("wanda", [0.1, 0.8])
def test_pruned_and_dropped_sublayers_are_compared_without_a_direction(wanda):
    trace = [
        {"variant": variant, "readout": "lm_head", "prompt": "a", "step": 0, "block": 0}
        | {"sublayer": "mlp", "temperature": None if space != "probability" else 1.0}
        | {"space": space, "angular_deviation": size}
        for variant, size in (("wanda-50", wanda), ("drop-each", 0.4))
        for space in ("embedding", "logit", "probability")
    ]
    runs = [
        {"variant": "wanda-50", "method": "wanda"},
        {"variant": "drop-each", "method": "sublayer_drop"},
    ]
    findings = findings_of(
        "fig13_sublayer_similarity_wanda",
        sublayer_trace=trace,
        compression_run=runs,
        noise_floor=[],
    )
    finding = the_one(findings, "if it is dropped")
    assert f"is {1 - wanda:.4f} if one is pruned by Wanda and 0.6000 if" in finding


def text(variant: str, prompt: str, first_divergence: int | None) -> dict[str, Any]:
    """A greedy text of eight tokens, which differs from dense's from one step on, or nowhere."""
    return {
        "variant": variant,
        "prompt": prompt,
        "sampling_temperature": 0.0,
        "dense_token_ids": [1] * 8,
        "first_divergence": first_divergence,
    }


def test_texts_that_never_diverge_count_with_their_length():
    """Of three texts of eight tokens each, the median stays equal up to token 3, and up to 8."""
    steps: dict[str, list[int | None]] = {"wanda-50": [0, 3, None], "awq-4bit": [5, None, None]}
    texts = [
        text(variant, str(index), step)
        for variant, its_steps in steps.items()
        for index, step in enumerate(its_steps)
    ]
    runs = [{"variant": variant, "method": variant.split("-")[0]} for variant in steps]
    findings = findings_of("ext_divergence_step", generated_text=texts, compression_run=runs)
    assert findings == [
        "The median step at which texts diverge is 8 over quantized variants and 3 over pruned "
        "ones. Texts that never diverge count with their length.",
        "3 of 6 greedy texts differ from the dense model's. Those of awq-4bit stay equal longest, "
        "half of them up to token 8.",
    ]


def cost(variant: str, speedup: tuple[float, ...] | None, similarity: float) -> dict[str, Any]:
    """A row of `variant_cost`: half of the bytes; without a speedup, dense's operations."""
    middle, low, high = speedup or (1.5, 1.4, 1.6)
    ends = {"": middle, "_low": low, "_high": high}
    return {
        "variant": variant,
        "method": "wanda",
        "similarity_probability": similarity,
        "same_operations": speedup is None,
        **{
            f"{phase}_speedup{end}": v for phase in ("prefill", "decode") for end, v in ends.items()
        },
        **dict.fromkeys(("bytes", "kv_cache_bytes_per_token"), 50),
        **{f"{name}_dense": 100 for name in ("bytes", "kv_cache_bytes_per_token")},
    }


def test_only_a_speedup_with_its_interval_above_one_is_claimed():
    """Neither one around 1, nor that of a variant that runs the operations of dense."""
    rows = [
        cost("fast", (2.0, 1.8, 2.2), 0.5),
        cost("unsure", (1.1, 0.9, 1.3), 0.5),
        cost("zeroed", None, 0.9),
    ]
    assert findings_of("ext_compression_cost", variant_cost=rows, noise_floor=[]) == [
        "Surely faster than dense in decoding: fast (2.00 times, 1.80 to 2.20). Bytes, but no "
        "time, are saved by zeroed, since dense's operations are run.",
        "Of the variants with a similarity of at least 0.8, zeroed has the smallest weights (50 % "
        "of the bytes) and zeroed the smallest key-value cache (50 %).",
    ]
    slow = findings_of("ext_compression_cost", variant_cost=rows[1:2], noise_floor=[])
    assert slow == ["Surely faster than dense in decoding: no variant."]


def test_two_blocks_are_reported_as_the_two_least_influential():
    parts = [
        {"block": block, "sublayer": sublayer, "influence": 0.2 - 0.1 * block, "n_tokens": 4}
        for block in (0, 1)
        for sublayer in ("attn", "mlp")
    ]
    findings = findings_of("ext_influence", influence=parts, compression_report=[])
    finding = the_one(findings, "2 MLP sublayers")
    assert finding == (
        "Among 2 MLP sublayers, the influence is smallest at block 1, 0 (in ascending order) and "
        "largest at block 0. It ranges from 0.1000 to 0.200."
    )


@pytest.mark.parametrize(
    ("rank", "words"),
    [(1, "moves up by 2.0 ranks"), (3, "keeps its rank"), (6, "moves down by 3.0 ranks")],
)
def test_documents_move_in_the_direction_of_their_rank(rank, words):
    samples = [
        {"variant": variant, "retrieval_set": "squad", "query": "q", "ndcg_at_10": 0.5}
        | {"recall_at_100": 1.0, "rank": place, "best_score": 0.5, "n_cut": 0}
        for variant, place in (("dense", 3), ("drop-2a", rank))
    ]
    runs = [
        {"variant": "dense", "method": "identity", "settings": "{}"},
        {
            "variant": "drop-2a",
            "method": "sublayer_drop",
            "settings": '{"sublayer": "attn", "n_drop": 2}',
        },
    ]
    differences = [{"variant": "drop-2a", **compared("task", "squad", "retrieval", "ndcg_at_10")}]
    (finding,) = findings_of(
        "ext_retrieval_scores",
        retrieval_difference=differences,
        retrieval_samples=samples,
        compression_run=runs,
    )
    assert finding == (
        "squad, 2 attention sublayers dropped: nDCG@10 is 0.500 (dense 0.600; 95 % interval of the "
        f"change -0.200 to +0.000). The first relevant document {words} on average."
    )


def test_paths_of_whole_variants_are_compared_with_those_of_attentions_edited_alone():
    """Both histories have the same value path; the whole variant's weight path is twice as long."""
    rows = [
        {"prompt": "a", "history": history, "block": 0, "head_group": 0, "step": 0}
        | {"path": path, "keys": keys, "relative_norm": size, "share": share / 2}
        for history, weight_path in (("teacher_forced", 0.2), ("edited_sublayer", 0.1))
        for path, size, share in (
            ("value", 0.1, 0.7),
            ("weight", weight_path, 0.4),
            ("interaction", 0.1, -0.1),
        )
        for keys in ("prompt", "generated")
    ]
    shares, growth = findings_of("ext_attention_paths", attention_error=rows, noise_floor=[])
    assert "the value path is 70 % of Δo and the weight path 40 %;" in shares
    assert "their value path is 1.0 times and their weight path 2.0 times as large" in growth


def family_loss(variant, difference, margin=0.2):
    """Rows of `score_difference` and `compression_run` of a variant that drops attention."""
    low, middle, high = difference
    row = {"variant": variant, "suite": "core", "scope": "family", "name": "generative"}
    row |= {"n_items": 40, "dense_score": 0.5, "chance": 0.0, "dense_margin_low": margin}
    row |= {"difference": middle, "difference_low": low, "difference_high": high}
    settings = json.dumps({"sublayer": "attn", "n_drop": int(variant[5])})
    return row, {"variant": variant, "method": "sublayer_drop", "settings": settings}


def test_how_far_follows_the_interval_and_not_its_middle():
    """Against an accepted loss of 2 points: wholly above, wholly below, and around it."""
    pairs = [
        family_loss("drop-1a", (-0.02, 0.0, 0.05)),
        family_loss("drop-2a", (-0.1, 0.0, 0.05)),
        family_loss("drop-4a", (-0.4, -0.2, -0.03)),
    ]
    rows, runs = (list(each) for each in zip(*pairs, strict=True))
    (answer,) = findings_of(
        "ext_how_far", settings={"max_loss": 0.02}, score_difference=rows, compression_run=runs
    )
    assert answer == (
        "In generation tasks (40 items; dense scores 0.50, a guess 0.00), more than 2 points of "
        "100 are surely lost from 4 attention sublayers on, and surely not up to 1 attention "
        "sublayer."
    )


def test_how_far_says_so_where_nothing_is_sure():
    row, run = family_loss("drop-2a", (-0.1, 0.0, 0.05))
    (answer,) = findings_of(
        "ext_how_far", settings={"max_loss": 0.02}, score_difference=[row], compression_run=[run]
    )
    assert answer == (
        "In generation tasks (40 items; dense scores 0.50, a guess 0.00), no amount surely loses "
        "more than 2 points of 100, and no amount is shown to lose less."
    )


def test_how_far_goes_on_only_while_every_amount_does():
    """Two are lost and four undecided, so that nothing is lost from two on; eight are lost."""
    lost, open_ = (-0.4, -0.2, -0.03), (-0.1, 0.0, 0.05)
    pairs = [family_loss(f"drop-{n}a", each) for n, each in ((2, lost), (4, open_), (8, lost))]
    rows, runs = (list(each) for each in zip(*pairs, strict=True))
    (answer,) = findings_of(
        "ext_how_far", settings={"max_loss": 0.02}, score_difference=rows, compression_run=runs
    )
    assert "surely lost from 8 attention sublayers on, and no amount is shown" in answer


def test_how_far_is_silent_where_dense_may_be_guessing():
    row, run = family_loss("drop-4a", (-0.4, -0.2, -0.03), margin=-0.01)
    found = findings_of(
        "ext_how_far", settings={"max_loss": 0.02}, score_difference=[row], compression_run=[run]
    )
    assert found == []


def test_verdicts_of_texts_are_counted_by_variant():
    """Of four greedy texts, two of one variant and one of the other are degenerate."""
    verdicts = {"a": ["degenerate", "degenerate"], "b": ["changed", "degenerate"]}
    texts = [
        {**text(variant, str(index), 0), "verdict": verdict}
        for variant, its_verdicts in verdicts.items()
        for index, verdict in enumerate(its_verdicts)
    ]
    runs = [{"variant": variant, "method": "wanda"} for variant in verdicts]
    (finding,) = findings_of("tab02_generated_text", generated_text=texts, compression_run=runs)
    assert finding == "Of 4 texts (greedy), 3 are degenerate: 2 of a, 1 of b."


def test_the_frontier_holds_the_variants_that_no_other_beats():
    """Saved and lost: 10 and 1; 20 and 5; 20 and 4; 15 and 6. Two of them stay."""
    rows, costs = [], []
    for variant, saved, lost in (("a", 10, 1), ("b", 20, 5), ("c", 20, 4), ("d", 15, 6)):
        row, _ = family_loss("drop-1a", (-lost / 100 - 0.1, -lost / 100, -lost / 100 + 0.1))
        rows.append(row | {"variant": variant})
        cache = {f"kv_cache_bytes_per_token{dense}": 10 for dense in ("", "_dense")}
        size = {"bytes": 100 - saved, "bytes_dense": 100, "decode_speedup": 1.0}
        costs.append(
            {"variant": variant, "method": "wanda", "same_operations": True, **size} | cache
        )
    (finding,) = findings_of("ext_frontier", score_difference=rows, variant_cost=costs)
    assert finding.endswith("in generation tasks c (20 %, 4.0), a (10 %, 1.0).")
