"""Findings on rows whose size is known: what lies below the noise floor is no deviation."""

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from prunescope import noise_limits
from prunescope.queries import run_query
from prunescope.schemas import TABLES

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


def test_deviations_below_the_floor_are_none_and_steps_without_any_are_left_out() -> None:
    """The figure shows all rows; at T = 10 rounding moves p a hundred times less."""
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
    assert found[0]["finding"] == (
        "0 embedding 0.0 0.001; 0 logit 0.0 0.0; 0 probability 1.0 0.0; 0 probability 10.0 2e-05"
    )
    assert found[1] == {
        "finding": "6 of 8 deviations (75 %) of sublayer_trace lie below the noise floor: findings "
        "take them for none.",
        "agrees": None,
    }


@pytest.mark.parametrize(("size", "kept"), [(1.1e-4, 1.1e-4), (9e-5, 0)])
def test_an_estimate_is_judged_only_where_the_measurement_is_above_the_floor(
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
    assert found[0]["finding"] == str([kept] * 3).replace("0, 0, 0", "0.0, 0.0, 0.0")
    assert len(found) == (1 if kept else 2)


def test_without_a_floor_nothing_is_left_out() -> None:
    """Of an encoder, which has none."""
    rows = _sublayer_rows(0, 1e-9, 1e-9, 1e-9)
    for tables in ({"sublayer_trace": rows}, {"sublayer_trace": rows, "noise_floor": []}):
        _, found = run_query(_connection(**tables), SEEN + FINDING, {})
        assert len(found) == 1
        assert "0 logit 0.0 1e-09" in str(found[0]["finding"])


def test_every_table_of_deviations_is_limited() -> None:
    """A table with these columns that is in neither list would be read whole."""
    deviating = {
        name
        for name, table in TABLES.items()
        if {"space", "temperature"} <= {column.name for column in table.columns}
    }
    assert set(noise_limits.applied_to(TABLES)) == deviating
