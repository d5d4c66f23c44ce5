"""No finding is built on a deviation below the noise floor: traces as findings read them.

A figure shows what was measured. Its findings read the same tables with every deviation that
rounding alone could make set to 0, and without the steps at which no space is above the floor.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prunescope.report import views
from prunescope.tables.schemas import PAPERS_READOUT, TABLES

if TYPE_CHECKING:
    import duckdb

FLOOR = "noise_floor"

TRACES = ("sublayer_trace", "decoding_trace")
"""Tables of deviations by space."""

ESTIMATES = ("deviation", "decoding_deviation")
"""Tables of estimates beside what was measured; where that is 0, estimates are not judged."""

AT_OUTPUT = {
    "option_agreement": (
        "if(angular_deviation > {probability}, angular_deviation, 0) AS angular_deviation",
        "if(kl_divergence > {kl}, kl_divergence, 0) AS kl_divergence",
    ),
    "variant_cost": (
        *(
            f"if(1 - similarity_{space} > {{{space}}}, similarity_{space}, 1) AS similarity_{space}"
            for space in ("embedding", "logit", "probability")
        ),
        "if(mean_kl_divergence > {kl}, mean_kl_divergence, 0) AS mean_kl_divergence",
        "if(median_kl_divergence > {kl}, median_kl_divergence, 0) AS median_kl_divergence",
    ),
}
"""Tables of deviations at the model's own output that have no column `space`: their columns."""

FOLLOWERS = {
    "logit_shift": ("sublayer_trace", "true"),
    "decoding_shift": ("decoding_trace", "true"),
    "history_term": ("decoding_trace", "history = 'free_running'"),
}
"""Tables of a trace's steps, written by the job of the trace: without the steps it is without."""

SHARES = "attention_error"
"""Shares of Δo: none where no part of it is larger than rounding moves the state it enters."""

_LIMIT = "coalesce(floor.{0}, 0) / coalesce(trace.temperature, 1) ^ 2"
"""Of rows at another temperature, too: to second order both deviations go with 1 / T²."""


def applied_to(tables: Iterable[str]) -> list[str]:
    """Those of the tables whose deviations a finding may not take from below the floor."""
    limited = (*TRACES, *ESTIMATES, *AT_OUTPUT, *FOLLOWERS, SHARES)
    return [table for table in tables if table in limited]


def judged_by(tables: Iterable[str]) -> dict[str, str]:
    """Each of the tables that follows a trace -> the trace, which has to be read beside it."""
    return {table: FOLLOWERS[table][0] for table in tables if table in FOLLOWERS}


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
        connection.execute(views.with_views("SELECT * FROM noise_level")).fetchall()
    said: list[dict[str, object]] = []
    for table in sorted(here, key=lambda table: (table in FOLLOWERS, table)):
        if table in FOLLOWERS and FOLLOWERS[table][0] not in here:
            continue
        connection.execute(f"ALTER VIEW {table} RENAME TO all_{table}")
        connection.execute(f"CREATE VIEW {table} AS {_limited(table)}")
        said += _left_out(connection, table)
    return said


def _limited(table: str) -> str:
    """The query that reads a table without what lies below the floor."""
    if table in AT_OUTPUT:
        kept = ", ".join(AT_OUTPUT[table]).format(**_output_limits(table))
        return f"SELECT * REPLACE ({kept}) FROM all_{table}"
    if table in FOLLOWERS:
        return _following(table)
    if table == SHARES:
        return _shares()
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


def _output_limits(table: str) -> dict[str, str]:
    """The floor at the model's own output: of each space's angle, and of KL; of a row's model."""
    at = f"(SELECT max({{}}) FROM noise_level WHERE model = all_{table}.model AND readout IS NULL"
    scaled = " / temperature ^ 2" if table == "option_agreement" else ""
    limits = {
        space: f"coalesce({at.format('angular_deviation')} AND space = '{space}'), 0){scaled}"
        for space in ("embedding", "logit", "probability")
    }
    return {**limits, "kl": f"coalesce({at.format('kl_divergence')}), 0){scaled}"}


def _following(table: str) -> str:
    """The query that reads a follower without the steps its trace is without."""
    trace, condition = FOLLOWERS[table]
    of_table = {*TABLES[table].partition, *(column.name for column in TABLES[table].columns)}
    of_trace = list(_keys(trace))
    shared = ", ".join(key for key in of_trace if key in of_table)
    return (
        f"SELECT * FROM all_{table} ANTI JOIN (SELECT DISTINCT {shared} FROM all_{trace} "
        f"ANTI JOIN {trace} USING ({', '.join(of_trace)}) WHERE {condition}) USING ({shared})"
    )


def _shares() -> str:
    """1 - cos of a turn by a relative size r is r²/2, so the floor of a state is a size, too."""
    of_a_step = ("model", "variant", "prompt", "history", "block", "step", "head_group")
    keys = ", ".join(f"part.{key}" for key in of_a_step)
    return (
        f"SELECT part.* REPLACE (if(max(part.relative_norm) OVER (PARTITION BY {keys}) > "
        "sqrt(2 * coalesce(floor.angular_deviation, 0)), part.share, NULL) AS share) "
        f"FROM all_{SHARES} AS part LEFT JOIN noise_level AS floor ON part.model = floor.model "
        f"AND part.block = floor.block AND floor.sublayer = 'attn' "
        f"AND floor.readout = '{PAPERS_READOUT}' AND floor.space = 'embedding'"
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
    """What findings of a table do without, a sentence per model."""
    counted, what, instead = _counted(table)
    numbers = connection.sql(
        f"SELECT model, count({counted}) AS every, coalesce(any_value(kept), 0) AS kept "
        f"FROM all_{table} LEFT JOIN (SELECT model, count({counted}) AS kept FROM {table} "
        "GROUP BY model) USING (model) GROUP BY model ORDER BY model"
    ).fetchall()
    for model, every, kept in numbers:
        if below := every - kept:
            yield {
                "model": model,
                "finding": f"{below:,} of {every:,} {what} ({100 * below / every:.2g} %) of "
                f"{table} lie below the noise floor: {instead}.",
                "agrees": None,
            }


def _counted(table: str) -> tuple[str, str, str]:
    """What is counted of a table in SQL, what that is, and how findings take it."""
    none = "findings take them for none"
    if table == SHARES:
        return "share", "shares", "findings leave them out"
    if table in FOLLOWERS:
        return "*", "rows", "findings leave them out"
    if table == "variant_cost":
        return "nullif(similarity_probability, 1)", "similarities of probabilities", none
    measured = "measured" if table in ESTIMATES else "angular_deviation"
    return f"CASE WHEN {measured} > 0 THEN 1 END", "deviations", none
