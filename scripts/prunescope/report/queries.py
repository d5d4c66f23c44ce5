"""Queries of reports/: the rows a figure shows and what it finds, from views over the store."""

import math
from collections.abc import Mapping

import duckdb
import pyarrow as pa

from prunescope.paths import REPORTS
from prunescope.report import noise_limits
from prunescope.storage.store import quoted

MACROS = REPORTS / "macros.sql"
"""What several queries compute."""

DIGITS = 5
"""Significant digits of the numbers a figure carries: finer than any screen."""


def run_query(
    connection: duckdb.DuckDBPyConnection, sql: str, settings: Mapping[str, object]
) -> tuple[pa.Table, list[dict[str, object]]]:
    """Rows of the first query, and what those after it find.

    What several of them read may be named before them, as temporary views or tables. Numbers
    printed elsewhere, reports/<name>.csv, are views too, by that name. Findings read traces without
    what lies below the noise floor (`noise_limits`).

    Returns
    -------
    rows, findings : a finding is a sentence, `finding`, and whether it agrees with what the paper
        says, `agrees`, NULL where the paper says nothing; it names its model if there are several.
    """
    connection.execute(MACROS.read_text(encoding="utf-8"))
    for printed in sorted(REPORTS.glob("*.csv")):
        connection.execute(
            f"CREATE VIEW {printed.stem} AS FROM read_csv({quoted(str(printed))}, header = true)"
        )
    answers, said = [], []
    for statement in connection.extract_statements(sql):
        asked = {name: settings[name] for name in statement.named_parameters}
        if statement.type == duckdb.StatementType.SELECT:
            answers.append(connection.sql(statement, params=asked).to_arrow_table())
            if len(answers) == 1:
                said = noise_limits.apply(connection)
        else:
            connection.execute(statement, asked)
    rows, found = answers[0], [row for answer in answers[1:] for row in answer.to_pylist()] + said
    several = len({row["model"] for row in found}) > 1
    findings = [
        {
            "finding": f"{row['model']}: {row['finding']}" if several else row["finding"],
            "agrees": row.get("agrees"),
        }
        for row in found
    ]
    return rows, findings


def rounded(rows: pa.Table) -> pa.Table:
    """The rows with their numbers cut to DIGITS; what is not finite becomes null."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            column = [_rounded(value) for value in rows.column(place).to_pylist()]
            rows = rows.set_column(place, field.name, pa.array(column, pa.float64()))
    return rows


def _rounded(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")
