"""No finding is built on a deviation below the noise floor: traces as findings read them.

A figure shows what was measured. Its findings read the same tables with every deviation that
rounding alone could make set to 0, and without the steps at which no space is above the floor.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prunescope import views
from prunescope.schemas import TABLES

if TYPE_CHECKING:
    import duckdb

FLOOR = "noise_floor"

TRACES = ("sublayer_trace", "decoding_trace")
"""Tables of deviations by space."""

ESTIMATES = ("deviation", "decoding_deviation")
"""Tables of estimates beside what was measured; where that is 0, estimates are not judged."""

_LIMIT = "coalesce(floor.{0}, 0) / coalesce(trace.temperature, 1) ^ 2"
"""Of rows at another temperature, too: to second order both deviations go with 1 / T²."""


def applied_to(tables: Iterable[str]) -> list[str]:
    """Those of the tables whose deviations a finding may not take from below the floor."""
    return [table for table in tables if table in (*TRACES, *ESTIMATES)]


def apply(connection: "duckdb.DuckDBPyConnection") -> list[dict[str, object]]:
    """From here on, queries of this connection read traces without what lies below the floor.

    Returns
    -------
    A finding per table and model of which something was left out: how much.
    """
    found = {name for (name,) in connection.sql("SELECT view_name FROM duckdb_views()").fetchall()}
    here = applied_to(TABLES.keys() & found)
    if FLOOR not in found or not here:
        return []
    if "noise_level" not in found:
        connection.execute(views.with_views("SELECT * FROM noise_level"))
    said: list[dict[str, object]] = []
    for table in sorted(here):
        connection.execute(f"ALTER VIEW {table} RENAME TO all_{table}")
        connection.execute(f"CREATE VIEW {table} AS {_limited(table)}")
        said += _left_out(connection, table)
    return said


def _limited(table: str) -> str:
    joined = (
        f"FROM all_{table} AS trace LEFT JOIN noise_level AS floor "
        f"ON trace.model = floor.model AND trace.space = floor.space AND {_place(table)}"
    )
    if table in ESTIMATES:
        limit = (
            f"if(trace.quantity = 'angular_deviation', {_LIMIT.format('angular_deviation')}, "
            f"{_LIMIT.format('kl_divergence')})"
        )
        return (
            f"SELECT trace.* REPLACE (if(trace.measured > {limit}, trace.measured, 0) "
            f"AS measured) {joined}"
        )
    kept = ", ".join(
        f"if(trace.{name} > {_LIMIT.format(name)}, trace.{name}, trace.{name} * 0) AS {name}"
        for name in ("angular_deviation", "kl_divergence")
    )
    steps = ", ".join(_keys(table))
    return (
        f"SELECT * FROM (SELECT trace.* REPLACE ({kept}) {joined}) "
        f"QUALIFY max(greatest(angular_deviation, kl_divergence)) OVER (PARTITION BY {steps}) > 0"
    )


def _place(table: str) -> str:
    """Where in the model the floor of a row is: its sublayer, or the model's own output."""
    if "readout" not in TABLES[table].partition:
        return "floor.readout IS NULL"
    return " AND ".join(f"trace.{key} = floor.{key}" for key in ("readout", "block", "sublayer"))


def _keys(table: str) -> Iterator[str]:
    """What tells the steps of a trace apart; a step has rows of every space and temperature."""
    yield from TABLES[table].partition
    for column in TABLES[table].columns:
        if column.name == "temperature":
            return
        yield column.name


def _left_out(connection: "duckdb.DuckDBPyConnection", table: str) -> Iterator[dict[str, object]]:
    measured = "measured" if table in ESTIMATES else "angular_deviation"
    counted = connection.sql(
        f"SELECT model, count(*), kept FROM all_{table} LEFT JOIN "
        f"(SELECT model, count(*) AS kept FROM {table} WHERE {measured} > 0 GROUP BY model) "
        f"USING (model) WHERE {measured} > 0 GROUP BY model, kept ORDER BY model"
    ).fetchall()
    for model, every, kept in counted:
        if below := every - (kept or 0):
            yield {
                "model": model,
                "finding": f"{below:,} of {every:,} deviations ({100 * below / every:.2g} %) of "
                f"{table} lie below the noise floor: findings take them for none.",
                "agrees": None,
            }
