"""Draw one figure: the rows of its query in, a Vega-Lite specification with its data inside out."""

import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from prunescope import charts, progress, store

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

DIGITS = 5
"""Significant digits of the numbers a figure carries: finer than any screen."""


def draw_figure(
    query_file: Path,
    chart_file: Path,
    tables: Mapping[str, Sequence[str]],
    settings: Mapping[str, object],
    figure_file: str,
) -> None:
    """Write one figure, its title, caption and findings in `usermeta`.

    Parameters
    ----------
    query_file : SQL of one or two statements: the figure's rows, then its findings.
    chart_file : module with `draw(rows)`, its docstring the title and the caption.
    tables : files of every table the query reads.
    settings : values of the query's `$named` parameters.
    """
    chart = load_chart(chart_file)
    title, caption = charts.title_and_caption(chart.__doc__)
    sql = query_file.read_text(encoding="utf-8")
    rows, findings = run_query(store.open_tables(tables), sql, settings)
    if not rows.num_rows:
        raise progress.JobError(
            f"{query_file.name} returned no rows from {', '.join(tables)}. The figures are "
            "drawn at T = 1: is 1.0 among tracing.temperatures? Does the model have the block in "
            "`settings`?"
        )
    figure = chart.draw(rounded(rows)).to_dict(validate=False)
    figure["usermeta"] = {
        "title": title,
        "caption": caption,
        "findings": findings,
        "query": sql,
        "settings": dict(settings),
    }
    with store.written_whole(figure_file) as part:
        text = json.dumps(figure, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        part.write_text(text, encoding="utf-8")


def load_chart(chart_file: Path) -> ModuleType:
    """The figure's module, from its path: `reports/` is no package."""
    spec = importlib.util.spec_from_file_location(chart_file.stem, chart_file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{chart_file} is not a Python module.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_query(
    connection: duckdb.DuckDBPyConnection, sql: str, settings: Mapping[str, object]
) -> tuple[pa.Table, list[dict[str, object]]]:
    """Rows of the first statement, and what the second one finds.

    Returns
    -------
    rows, findings : a finding is a sentence, `finding`, and whether it agrees with what the paper
        says, `agrees`, NULL where the paper says nothing; it names its model if there are several.
    """
    answers = [
        connection.sql(
            statement, params={name: settings[name] for name in statement.named_parameters}
        ).to_arrow_table()
        for statement in connection.extract_statements(sql)
    ]
    rows, found = answers[0], [row for answer in answers[1:] for row in answer.to_pylist()]
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


if __name__ == "__main__":
    with progress.job("draw_figure", snakemake.log[0]):
        pair = Path(snakemake.scriptdir).parent / "reports" / "figures" / snakemake.wildcards.figure
        draw_figure(
            query_file=pair.with_suffix(".sql"),
            chart_file=pair.with_suffix(".py"),
            tables={name: list(files) for name, files in snakemake.input.items()},
            settings=snakemake.params.settings,
            figure_file=snakemake.output.figure,
        )
