"""Findings leave out deviations below the noise floor, on rows of known size."""

import re
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from prunescope.report import noise_limits
from prunescope.report.queries import run_query
from prunescope.tables.schemas import TABLES

SPACES = ("embedding", "logit", "probability")


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    keys = [pa.field(key, pa.string()) for key in TABLES[name].partition]
    return pa.Table.from_pylist(rows, schema=pa.schema([*TABLES[name].schema, *keys]))


def _floor(**place: Any) -> list[dict[str, Any]]:
    """1e-4 between float32 and the model's dtype, and less between one pass and decoding."""
    return [
        {
            "model": "m",
            "comparison": comparison,
            "dtype": "bfloat16",
            **place,
            "space": space,
            "n_positions": 4,
            "mean_angular_deviation": size,
            "max_angular_deviation": 10 * size,
            "mean_kl_divergence": size if space == "probability" else None,
        }
        for comparison, size in (("cached", 1e-5), ("float32", 1e-4))
        for space in SPACES
    ]


def _connection(**tables: list[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for name, rows in tables.items():
        connection.register(f"{name}_rows", _table(name, rows))
        connection.execute(f"CREATE VIEW {name} AS FROM {name}_rows")
    return connection


def _sublayer_rows(step: int, embedding: float, logit: float, p: float) -> list[dict[str, Any]]:
    key = {"model": "m", "variant": "v", "readout": "lm_head", "prompt": "a", "step": step}
    place = {**key, "block": 1, "sublayer": "attn"}
    return [
        {**place, "space": "embedding", "angular_deviation": embedding},
        {**place, "space": "logit", "angular_deviation": logit},
        *(
            {
                **place,
                "temperature": temperature,
                "space": "probability",
                "angular_deviation": p,
                "kl_divergence": p,
            }
            for temperature in (1.0, 10.0)
        ),
    ]


SEEN = """SELECT step, space, temperature, angular_deviation, kl_divergence FROM sublayer_trace
ORDER BY ALL;"""

FINDING = """SELECT model, string_agg(format('{} {} {} {}', step, space,
coalesce(temperature, 0), angular_deviation), '; ' ORDER BY step, space, temperature) AS finding
FROM sublayer_trace GROUP BY model;"""


def test_deviations_below_the_floor_are_left_out() -> None:
    """The figure shows all rows; at T = 10, rounding moves p a hundred times less."""
    rows = [*_sublayer_rows(0, 1e-3, 1e-5, 2e-5), *_sublayer_rows(1, 1e-5, 1e-5, 1e-7)]
    floor = [
        *_floor(readout="lm_head", block=1, sublayer="attn"),
        *_floor(readout="final_norm", block=1, sublayer="attn"),
        *_floor(),
    ]
    drawn, found = run_query(
        _connection(sublayer_trace=rows, noise_floor=floor), SEEN + FINDING, {}
    )
    assert drawn.num_rows == 8
    assert drawn["angular_deviation"].to_pylist().count(0) == 0
    assert found[0] == (
        "0 embedding 0.0 0.001; 0 logit 0.0 0.0; 0 probability 1.0 0.0; 0 probability 10.0 2e-05"
    )
    assert found[1] == (
        "6 of 8 deviations (75 %) in sublayer_trace are below the noise floor, and findings count "
        "them as zero."
    )


@pytest.mark.parametrize(("size", "kept"), [(1.1e-4, 1.1e-4), (9e-5, 0)])
def test_estimates_are_judged_only_by_measurements_above_the_floor(
    size: float, kept: float
) -> None:
    key = {
        "model": "m",
        "variant": "v",
        "prompt": "a",
        "sampling_temperature": 0.0,
        "history": "free_running",
        "step": 0,
        "temperature": 1.0,
        "space": "probability",
        "order": 2,
        "estimated": 1.0,
    }
    rows = [
        {**key, "quantity": quantity, "measured": size}
        for quantity in ("angular_deviation", "kl_divergence", "kl_bound")
    ]
    sql = (
        "SELECT * FROM decoding_deviation; SELECT model, cast(list(measured) AS varchar) "
        "AS finding FROM decoding_deviation GROUP BY model;"
    )
    _, found = run_query(_connection(decoding_deviation=rows, noise_floor=_floor()), sql, {})
    assert found[0] == str([kept] * 3).replace("0, 0, 0", "0.0, 0.0, 0.0")
    assert len(found) == (1 if kept else 2)


def test_without_a_floor_no_row_is_left_out() -> None:
    """Encoders have no floor."""
    rows = _sublayer_rows(0, 1e-9, 1e-9, 1e-9)
    for tables in ({"sublayer_trace": rows}, {"sublayer_trace": rows, "noise_floor": []}):
        _, found = run_query(_connection(**tables), SEEN + FINDING, {})
        assert len(found) == 1
        assert "0 logit 0.0 1e-09" in str(found[0])


NOT_LIMITED = (
    "noise_floor",
    "model_check",
    "option_trace",
    "generated_text",
    "removal_score",  # what a method chose by
    "history_effect",  # made of limited tables
)


def test_every_table_of_deviations_is_limited() -> None:
    """A table with these columns that is in neither list would be read completely."""
    deviating = {
        name
        for name, table in TABLES.items()
        for column in table.columns
        if re.search(r"angular|divergence$|similarity|var_|^share$|measured", column.name)
        if name not in NOT_LIMITED
    }
    assert set(noise_limits.applied_to(TABLES)) == deviating


def test_steps_below_the_floor_are_left_out_of_tables_by_step() -> None:
    """One step has no deviation above the floor, the other one has some in one space."""
    rows = [*_sublayer_rows(0, 1e-3, 1e-5, 2e-5), *_sublayer_rows(1, 1e-5, 1e-5, 1e-7)]
    floor = _floor(readout="lm_head", block=1, sublayer="attn")
    key = {"model": "m", "variant": "v", "readout": "lm_head", "prompt": "a"}
    shifts = [
        {**key, "step": step, "block": block, "sublayer": "attn", "var_escort": 1.0}
        for step in (0, 1)
        for block in (1, 2)
    ]
    sql = (
        "SELECT * FROM logit_shift; SELECT model, string_agg(format('{} {}', step, block), ', ' "
        "ORDER BY step, block) AS finding FROM logit_shift GROUP BY model;"
    )
    tables = {"sublayer_trace": rows, "logit_shift": shifts, "noise_floor": floor}
    _, found = run_query(_connection(**tables), sql, {})
    assert found[0] == "0 1, 0 2, 1 2"
    assert "1 of 4 rows (25 %) in logit_shift" in str(found[-1])


def test_shares_are_left_out_if_free_running_is_below_the_floor() -> None:
    """Teacher forcing is above it, but it does not decide what free running adds."""
    key = {"model": "m", "variant": "v", "prompt": "a", "sampling_temperature": 0.0}
    rows = [
        {
            **key,
            "history": history,
            "step": step,
            "temperature": 1.0,
            "space": "probability",
            "angular_deviation": size,
            "kl_divergence": size,
        }
        for history, step, size in (
            ("free_running", 0, 1e-5),
            ("teacher_forced", 0, 1e-2),
            ("free_running", 1, 1e-2),
        )
    ]
    terms = [{**key, "step": step, "term": "parameters", "share": 1.0} for step in (0, 1, 2)]
    sql = (
        "SELECT * FROM history_term; SELECT model, cast(list(step ORDER BY step) AS varchar) "
        "AS finding FROM history_term GROUP BY model;"
    )
    tables = {"decoding_trace": rows, "history_term": terms, "noise_floor": _floor()}
    _, found = run_query(_connection(**tables), sql, {})
    assert found[0] == "[1, 2]"


@pytest.mark.parametrize(("temperature", "seen"), [(1.0, 0), (10.0, 2e-5)])
def test_choices_are_judged_by_the_floor_at_their_temperature(
    temperature: float, seen: float
) -> None:
    row = {
        "model": "m",
        "variant": "v",
        "prompt": "a",
        "temperature": temperature,
        "scope": "options",
        "angular_deviation": 2e-5,
        "kl_divergence": 2e-5,
        "argmax_survived": True,
    }
    sql = (
        "SELECT * FROM option_agreement; SELECT model, format('{} {}', angular_deviation, "
        "kl_divergence) AS finding FROM option_agreement;"
    )
    _, found = run_query(_connection(option_agreement=[row], noise_floor=_floor()), sql, {})
    assert found[0] == f"{float(seen)} {float(seen)}"


def test_a_variant_within_the_floor_counts_as_similar_as_dense() -> None:
    sizes = {"embedding": 2e-4, "logit": 5e-5, "probability": 1e-5}
    row = {
        "model": "m",
        "variant": "v",
        **{f"similarity_{space}": 1 - size for space, size in sizes.items()},
        "mean_kl_divergence": 2e-4,
        "median_kl_divergence": 1e-6,
        "top_token_agreement": 1.0,
    }
    sql = (
        "SELECT * FROM variant_cost; SELECT model, format('{} {} {} {} {}', similarity_embedding, "
        "similarity_logit, similarity_probability, mean_kl_divergence, median_kl_divergence) "
        "AS finding FROM variant_cost;"
    )
    _, found = run_query(_connection(variant_cost=[row], noise_floor=_floor()), sql, {})
    assert found[0] == "0.9998 1.0 1.0 0.0002 0.0"


@pytest.mark.parametrize(("largest", "shares"), [(0.02, [0.9, 0.1]), (0.01, [])])
def test_attention_parts_count_if_one_of_them_is_above_the_floor(
    largest: float, shares: list[float]
) -> None:
    """The floor's 1 - cos of 1e-4 is a relative size of 0.0141."""
    key = {"model": "m", "variant": "v", "prompt": "a", "history": "teacher_forced", "block": 1}
    rows = [
        {**key, "step": 0, "head_group": 0, "path": path, "relative_norm": size, "share": share}
        for path, size, share in (("value", largest, 0.9), ("weight", 1e-3, 0.1))
    ]
    sql = (
        "SELECT * FROM attention_error; SELECT model, cast(list(share ORDER BY path) AS varchar) "
        "AS finding FROM attention_error WHERE share IS NOT NULL GROUP BY model;"
    )
    floor = _floor(readout="lm_head", block=1, sublayer="attn")
    _, found = run_query(_connection(attention_error=rows, noise_floor=floor), sql, {})
    left_out = [
        "2 of 2 shares (100 %) in attention_error are below the noise floor, and findings leave "
        "them out."
    ]
    assert found == ([str(shares)] if shares else left_out)
