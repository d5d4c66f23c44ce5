"""Runs the queries of a figure: its rows and its findings, from views over the store."""

import math
from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from prunescope.paths import REPORTS
from prunescope.report import noise_limits, views
from prunescope.storage.store import quoted

MACROS = REPORTS / "macros.sql"
"""The file of the macros, which are defined before each query."""

DIGITS = 5
"""Significant digits of the numbers in a figure; no screen shows more."""


def run_query(
    connection: duckdb.DuckDBPyConnection, sql: str, settings: Mapping[str, object]
) -> tuple[pa.Table, list[str]]:
    """The rows of the first query, and the findings of the queries after it.

    The file may begin with temporary views or tables that several of its queries read. Each file
    reports/<name>.csv, with numbers from publications, is a view of that name. Findings read the
    traces without deviations below the noise floor (`noise_limits`).

    Parameters
    ----------
    connection : a database with the tables of the figure.
    sql : the statements of a figure.
    settings : values of their `$named` parameters.

    Returns
    -------
    rows, findings : a finding is a sentence. If there are several models, each finding names its
        own, and those of a model stand together.
    """
    _define_shared(connection)
    results, floor_findings = [], []
    for statement in connection.extract_statements(sql):
        parameters = {name: settings[name] for name in statement.named_parameters}
        if statement.type == duckdb.StatementType.SELECT:
            results.append(connection.sql(statement, params=parameters).to_arrow_table())
            if len(results) == 1:
                floor_findings = noise_limits.apply(connection)
        else:
            connection.execute(statement, parameters)
    rows, *finding_tables = results
    finding_rows = [row for table in finding_tables for row in table.to_pylist()] + floor_findings
    models = list(dict.fromkeys(row["model"] for row in finding_rows))
    findings = [
        f"{row['model']}: {row['finding']}" if len(models) > 1 else str(row["finding"])
        for row in sorted(finding_rows, key=lambda row: models.index(row["model"]))
    ]
    return rows, findings


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make a connection ready for `units`: macros, and no deviations below the noise floor."""
    _define_shared(connection)
    noise_limits.apply(connection)


def units(
    connection: duckdb.DuckDBPyConnection, sql: str, settings: Mapping[str, object]
) -> list[dict[str, Any]]:
    """The rows of a claim's query.

    Parameters
    ----------
    connection : to the tables, after `prepare`; several queries may share it.
    sql : one statement, which may read views of reports/views/.
    settings : values of its `$named` parameters, and of others that it does not have.
    """
    for name, view in views.read_by(sql).items():
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS\n{view}")
    (statement,) = connection.extract_statements(sql)
    parameters = {name: settings[name] for name in statement.named_parameters}
    rows: list[dict[str, Any]] = (
        connection.sql(statement, params=parameters).to_arrow_table().to_pylist()
    )
    return rows


def _define_shared(connection: duckdb.DuckDBPyConnection) -> None:
    """The macros, and a view of each CSV file of reports/."""
    connection.execute(MACROS.read_text(encoding="utf-8"))
    for file in sorted(REPORTS.glob("*.csv")):
        connection.execute(
            f"CREATE VIEW {file.stem} AS FROM read_csv({quoted(str(file))}, header = true)"
        )


def rounded(rows: pa.Table) -> pa.Table:
    """The rows with their numbers rounded to DIGITS; numbers that are not finite become null."""
    for index, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            column = [_rounded(value) for value in rows.column(index).to_pylist()]
            rows = rows.set_column(index, field.name, pa.array(column, pa.float64()))
    return rows


def _rounded(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")
