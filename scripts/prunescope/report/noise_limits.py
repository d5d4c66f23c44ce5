"""Tables as findings read them: without deviations below the noise floor.

A figure shows all that was measured. Its findings read the same tables with each deviation that
rounding alone could make set to 0, and without the steps at which no space is above the floor. To
this end each table is renamed to `all_<table>`, and a view with the old name takes its place.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prunescope.report import views
from prunescope.tables.schemas import PAPERS_READOUT, TABLES

if TYPE_CHECKING:
    import duckdb

FLOOR = "noise_floor"


def _tables_with(*names: str) -> tuple[str, ...]:
    """The tables that have all of these columns."""
    return tuple(
        table for table in TABLES if set(names) <= {column.name for column in TABLES[table].columns}
    )


TRACES = _tables_with("space", "angular_deviation", "kl_divergence")
"""Tables of deviations, one row per space."""

ESTIMATES = _tables_with("quantity", "measured", "estimated")
"""Tables of estimates and measurements; estimates of a measurement of 0 are not judged."""

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
"""Tables of deviations at the model's output that have no column `space`: their limited columns."""

FOLLOWERS = {
    "logit_shift": ("sublayer_trace", "true"),
    "decoding_shift": ("decoding_trace", "true"),
    "history_term": ("decoding_trace", "history = 'free_running'"),
}
"""Table -> the trace with the same steps, and the rows of it that count: steps left out of the
trace are left out of the table too."""

SHARES = "attention_error"
"""The table of shares of Δo. They are NULL if no part of Δo is larger than the noise floor of the
state that the attention writes to."""

_LIMIT = "coalesce(floor.{0}, 0) / coalesce(trace.temperature, 1) ^ 2"
"""The limit of a row. At other temperatures both deviations are proportional to 1 / T², to second
order."""


def applied_to(tables: Iterable[str]) -> list[str]:
    """Those of the tables that findings read without deviations below the floor."""
    limited = (*TRACES, *ESTIMATES, *AT_OUTPUT, *FOLLOWERS, SHARES)
    return [table for table in tables if table in limited]


def judged_by(tables: Iterable[str]) -> dict[str, str]:
    """Each of the tables that follows a trace -> that trace, which a figure must read as well."""
    return {table: FOLLOWERS[table][0] for table in tables if table in FOLLOWERS}


def apply(connection: "duckdb.DuckDBPyConnection") -> list[dict[str, object]]:
    """Make later queries of this connection read its tables without deviations below the floor.

    Returns
    -------
    A finding per table and model with deviations below the floor, which says how many.
    """
    names = {name for (name,) in connection.sql("SELECT view_name FROM duckdb_views()").fetchall()}
    limited_tables = applied_to(TABLES.keys() & names)
    if FLOOR not in names or not limited_tables:
        return []
    if "noise_level" not in names:
        connection.execute(views.with_views("SELECT * FROM noise_level")).fetchall()
    findings: list[dict[str, object]] = []
    for table in sorted(limited_tables, key=lambda table: (table in FOLLOWERS, table)):
        if table in FOLLOWERS and FOLLOWERS[table][0] not in limited_tables:
            continue
        connection.execute(f"ALTER VIEW {table} RENAME TO all_{table}")
        connection.execute(f"CREATE VIEW {table} AS {_limited(table)}")
        findings += _below_floor(connection, table)
    return findings


def _limited(table: str) -> str:
    """The query that reads a table without deviations below the floor."""
    if table in AT_OUTPUT:
        columns = ", ".join(AT_OUTPUT[table]).format(**_output_limits(table))
        return f"SELECT * REPLACE ({columns}) FROM all_{table}"
    if table in FOLLOWERS:
        return _follower(table)
    if table == SHARES:
        return _shares()
    joined = (
        f"FROM all_{table} AS trace LEFT JOIN noise_level AS floor "
        f"ON trace.model = floor.model AND trace.space = floor.space AND {_floor_condition(table)}"
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
    columns = ", ".join(
        f"if(trace.{name} > {_LIMIT.format(name)}, trace.{name}, trace.{name} * 0) AS {name}"
        for name in ("angular_deviation", "kl_divergence")
    )
    steps = ", ".join(_keys(table))
    return (
        f"SELECT * FROM (SELECT trace.* REPLACE ({columns}) {joined}) "
        f"QUALIFY max(greatest(angular_deviation, kl_divergence)) OVER (PARTITION BY {steps}) > 0"
    )


def _output_limits(table: str) -> dict[str, str]:
    """SQL of the floor at the output of a row's model: the angle in each space, and KL."""
    query = (
        f"(SELECT max({{}}) FROM noise_level WHERE model = all_{table}.model AND readout IS NULL"
    )
    scaled = " / temperature ^ 2" if table == "option_agreement" else ""
    limits = {
        space: f"coalesce({query.format('angular_deviation')} AND space = '{space}'), 0){scaled}"
        for space in ("embedding", "logit", "probability")
    }
    return {**limits, "kl": f"coalesce({query.format('kl_divergence')}), 0){scaled}"}


def _follower(table: str) -> str:
    """The query that reads a table without the steps that are left out of its trace."""
    trace, condition = FOLLOWERS[table]
    table_columns = {*TABLES[table].partition, *(column.name for column in TABLES[table].columns)}
    trace_keys = list(_keys(trace))
    shared = ", ".join(key for key in trace_keys if key in table_columns)
    return (
        f"SELECT * FROM all_{table} ANTI JOIN (SELECT DISTINCT {shared} FROM all_{trace} "
        f"ANTI JOIN {trace} USING ({', '.join(trace_keys)}) WHERE {condition}) USING ({shared})"
    )


def _shares() -> str:
    """The query that reads shares of changes above the floor.

    A change of relative size r makes 1 - cos = r²/2, so that the floor of 1 - cos is a floor of the
    relative size, too.
    """
    step_keys = ("model", "variant", "prompt", "history", "block", "step", "head_group")
    keys = ", ".join(f"part.{key}" for key in step_keys)
    return (
        f"SELECT part.* REPLACE (if(max(part.relative_norm) OVER (PARTITION BY {keys}) > "
        "sqrt(2 * coalesce(floor.angular_deviation, 0)), part.share, NULL) AS share) "
        f"FROM all_{SHARES} AS part LEFT JOIN noise_level AS floor ON part.model = floor.model "
        f"AND part.block = floor.block AND floor.sublayer = 'attn' "
        f"AND floor.readout = '{PAPERS_READOUT}' AND floor.space = 'embedding'"
    )


def _floor_condition(table: str) -> str:
    """The condition that joins a row to the floor of its sublayer or of the model's output."""
    if "readout" not in TABLES[table].partition:
        return "floor.readout IS NULL"
    return " AND ".join(f"trace.{key} = floor.{key}" for key in ("readout", "block", "sublayer"))


def _keys(table: str) -> Iterator[str]:
    """The key columns of a step of a trace, whose rows are of all spaces and temperatures."""
    yield from TABLES[table].partition
    for column in TABLES[table].columns:
        if column.name == "temperature":
            return
        yield column.name


def _below_floor(
    connection: "duckdb.DuckDBPyConnection", table: str
) -> Iterator[dict[str, object]]:
    """A finding per model that says how many numbers of a table are below the floor."""
    counted, noun, treatment = _counted(table)
    counts = connection.sql(
        f"SELECT model, count({counted}) AS total, coalesce(any_value(above), 0) AS above "
        f"FROM all_{table} LEFT JOIN (SELECT model, count({counted}) AS above FROM {table} "
        "GROUP BY model) USING (model) GROUP BY model ORDER BY model"
    ).fetchall()
    for model, total, above in counts:
        if below := total - above:
            yield {
                "model": model,
                "finding": f"{below:,} of {total:,} {noun} ({100 * below / total:.3g} %) in "
                f"{table} are below the noise floor, and findings {treatment}.",
            }


def _counted(table: str) -> tuple[str, str, str]:
    """What is counted in a table: as SQL, as a noun, and how findings treat it."""
    as_zero = "count them as zero"
    if table == SHARES:
        return "share", "shares", "leave them out"
    if table in FOLLOWERS:
        return "*", "rows", "leave them out"
    if table == "variant_cost":
        return "nullif(similarity_probability, 1)", "similarities of probabilities", as_zero
    measured = "measured" if table in ESTIMATES else "angular_deviation"
    return f"CASE WHEN {measured} > 0 THEN 1 END", "deviations", as_zero
