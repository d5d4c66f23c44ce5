"""Claims of reports/claims.yaml read what their figures read, and say what their tables hold."""

from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml

import judge_claims
from prunescope.inference import claims, verdicts
from prunescope.inference.claims import QUERIES, Claim
from prunescope.paths import REPORTS
from prunescope.progress import JobError
from prunescope.report import queries
from prunescope.tables.schemas import TABLES

CONFIG = yaml.safe_load((REPORTS.parent / "config.yaml").read_text(encoding="utf-8"))

ALL = {claim.name: claim for claim in claims.read_all()}


def units_of(claim: Claim, settings: dict[str, Any] | None = None, **tables: Any) -> Any:
    """Rows of a claim's query over these rows."""
    with duckdb.connect() as connection:
        for name, rows in tables.items():
            keyed = [{"model": "m", "variant": "v", **row} for row in rows]
            schema = TABLES[name].empty().schema
            connection.register(name, pa.Table.from_pylist(keyed, schema))
        queries.prepare(connection)
        sql = claim.query_file.read_text(encoding="utf-8")
        return queries.units(connection, sql, {**(settings or {}), **claim.settings})


def verdict_of(name: str, **tables: Any) -> list[str]:
    """Verdicts on a claim over these rows, whatever the number of units."""
    claim = ALL[name].model_copy(update={"least": 1})
    rows = verdicts.judged([(claim, units_of(claim, **tables))], {}).to_pylist()
    return [row["verdict"] for row in rows]


@pytest.mark.parametrize("name", ALL)
def test_a_claim_reads_no_more_than_its_figure(name: str) -> None:
    """Over empty tables of the figure's, with its settings, the query runs and finds nothing."""
    entry = CONFIG["figures"][ALL[name].figure]
    tables: dict[str, list[Any]] = {table: [] for table in [*entry["reads"], "noise_floor"]}
    assert units_of(ALL[name], entry.get("settings", {}), **tables) == []


def test_every_query_belongs_to_a_claim() -> None:
    assert {file.stem for file in QUERIES.glob("*.sql")} == {c.query for c in ALL.values()}


PROMPTS = [f"p{place}" for place in range(8)]


def traced(sizes: dict[str, float], **changed: Any) -> list[dict[str, Any]]:
    """Rows of `sublayer_trace` of eight prompts: the deviation in each space."""
    return [
        {"readout": "lm_head", "prompt": prompt, "step": 0, "block": block, "sublayer": "attn"}
        | {"temperature": 1.0 if space == "probability" else None, "space": space}
        | {"angular_deviation": size, "relative_orthogonal_magnitude": size, **changed}
        for prompt in PROMPTS
        for block in range(3)
        for space, size in sizes.items()
    ]


@pytest.mark.parametrize(
    ("sizes", "least_similar", "logits"),
    [
        ({"embedding": 0.2, "logit": 0.1, "probability": 0.3}, "holds", "holds"),
        ({"embedding": 0.2, "logit": 0.3, "probability": 0.1}, "fails", "fails"),
        ({"embedding": 0.1, "logit": 0.2, "probability": 0.2}, "fails", "fails"),
    ],
)
def test_spaces_are_compared_point_by_point(sizes, least_similar, logits):
    rows = traced(sizes)
    assert verdict_of("probabilities-least-similar", sublayer_trace=rows) == [least_similar]
    assert verdict_of("logits-more-similar", sublayer_trace=rows) == [logits]


@pytest.mark.parametrize(("z", "verdict"), [(0.1, "holds"), (0.3, "fails")])
def test_lm_head_shrinks_or_enlarges(z, verdict):
    rows = traced({"embedding": 0.2, "logit": z})
    assert verdict_of("lm-head-shrinks", sublayer_trace=rows) == [verdict]


@pytest.mark.parametrize(
    ("turned", "verdict"), [((0, 2), "holds"), ((0, 1), "fails"), ((1, 2), "fails")]
)
def test_ends_are_the_first_and_the_last_block(turned, verdict):
    rows = [
        row | {"angular_deviation": 0.5 if row["block"] in turned else 0.1}
        for row in traced({"embedding": 0.0})
    ]
    assert verdict_of("ends-least-similar", sublayer_trace=rows) == [verdict]


def estimates(ratio: float, space: str = "probability") -> list[dict[str, Any]]:
    """Rows of `deviation`: an estimate of `ratio` times the measurement; other orders miss."""
    return [
        {"prompt": prompt, "step": step, "block": block, "sublayer": "attn", "space": space}
        | {"temperature": 1.0 if space == "probability" else None, "order": order}
        | {"quantity": "kl_divergence", "measured": 0.1 + 0.1 * block}
        | {"estimated": (0.1 + 0.1 * block) * (ratio if order == 2 else 9)}
        for prompt in PROMPTS
        for step in range(2)
        for block in range(3)
        for order in (2, 3)
    ]


@pytest.mark.parametrize(("ratio", "verdict"), [(0.9, "holds"), (1.1, "holds"), (0.5, "fails")])
def test_an_estimate_is_close_within_a_quarter(ratio, verdict):
    assert verdict_of("theorem-3", deviation=estimates(ratio)) == [verdict]


def test_depth_is_compared_by_thirds():
    """0.3 at the last block, 0.1 at the first."""
    (row, *_) = units_of(ALL["kl-grows-with-depth"], deviation=estimates(1.0))
    assert row["measured"] == pytest.approx(3)


def test_what_is_below_the_noise_floor_is_no_point():
    """Deviations of 0.1 to 0.3 below a floor of 0.5 leave nothing to compare."""
    floor = [
        {"comparison": "c", "dtype": "float32", "readout": "lm_head", "block": block}
        | {"sublayer": "attn", "space": space, "n_positions": 1}
        | {"mean_angular_deviation": 0.5, "mean_kl_divergence": 0.5}
        for block in range(3)
        for space in ("embedding", "logit", "probability")
    ]
    rows = traced({"embedding": 0.2, "logit": 0.1, "probability": 0.3}, kl_divergence=0.1)
    claim = ALL["probabilities-least-similar"]
    assert units_of(claim, sublayer_trace=rows, noise_floor=floor) == []


def test_later_steps_are_held_against_the_first():
    trace = [
        {"prompt": prompt, "sampling_temperature": 0.0, "history": "free_running", "step": step}
        | {"temperature": None, "space": "logit", "angular_deviation": size}
        for prompt in PROMPTS
        for step, size in ((0, 0.1), (1, 0.3), (2, 0.5))
    ]
    rows = units_of(ALL["later-steps-deviate"], decoding_trace=trace)
    assert [row["measured"] for row in rows] == pytest.approx([0.3] * 8)
    assert {row["subject"] for row in rows} == {"logits"}


def test_a_choice_that_changes_at_most_prompts_does_not_survive():
    agreement = [
        {"prompt": prompt, "temperature": 1.0, "scope": "options", "argmax_survived": False}
        | {"angular_deviation": 0.1, "kl_divergence": 0.1}
        for prompt in PROMPTS
    ]
    assert verdict_of("choice-survives", option_agreement=agreement) == ["fails"]


def test_quantized_and_pruned_variants_are_told_apart_by_their_method():
    runs = [
        {"variant": "a", "method": "awq"},
        {"variant": "b", "method": "wanda"},
        {"variant": "c", "method": "block_drop"},
    ]
    trace = [
        {"variant": variant, "prompt": prompt, "sampling_temperature": 0.0, "step": 0}
        | {"history": "teacher_forced", "temperature": 1.0, "space": "probability"}
        | {"kl_divergence": kl, "angular_deviation": kl}
        for prompt in PROMPTS
        for variant, kl in (("a", 0.2), ("b", 0.5), ("c", 1.5))
    ]
    rows = units_of(ALL["quantization-deviates-less"], decoding_trace=trace, compression_run=runs)
    assert [row["measured"] for row in rows] == pytest.approx([0.2 - 0.5] * 8)


def test_two_suites_are_two_subjects():
    drop = {"method": "wanda", "settings": '{"sparsity": 0.5}'}
    contrast = {"scope": "contrast", "name": "c", "n_items": 40, "difference": 0.4, "p_value": 0.1}
    rows = [{**contrast, "suite": suite} for suite in ("core", "full")]
    found = units_of(
        ALL["generation-falls-first-wanda"], score_difference=rows, compression_run=[drop]
    )
    assert sorted(row["subject"] for row in found) == ["v, suite core", "v, suite full"]


def test_a_table_that_is_not_read_is_told_by_name():
    told = r"claim theorem-3 .*fig14_theory_kl reads \(influence\).*deviation"
    with duckdb.connect() as connection, pytest.raises(JobError, match=told):
        connection.register("influence", TABLES["influence"].empty())
        queries.prepare(connection)
        judge_claims.units_of(ALL["theorem-3"], connection, ["influence"], {})


def test_families_are_compared_by_the_contrast_of_their_shares():
    drop = {"method": "sublayer_drop", "settings": '{"sublayer": "attn", "n_drop": 4}'}
    contrast = {"suite": "core", "scope": "contrast", "name": "c", "n_items": 40}
    contrast |= {"difference": 0.4, "difference_low": 0.2, "difference_high": 0.6, "p_value": 0.001}
    tables = {"score_difference": [contrast], "compression_run": [drop]}
    (row,) = units_of(ALL["generation-falls-first"], **tables)
    assert (row["subject"], row["n"], row["measured"]) == ("4 attention sublayers dropped", 40, 0.4)
    assert verdict_of("generation-falls-first", **tables) == ["holds"]
