"""Draw one figure: the rows of its query in, a Vega-Lite specification or a table of texts out."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from prunescope import progress
from prunescope.report import charts, views
from prunescope.report.queries import rounded, run_query
from prunescope.report.text_tables import Table
from prunescope.storage import store

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


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
    query_file : SQL: views of its own if it names any, the figure's rows, then its findings; views
        of reports/views/ are made where it reads them.
    chart_file : module with `draw(rows)`, its docstring the title and the caption.
    tables : files of every table the query reads.
    settings : values of the query's `$named` parameters.
    """
    chart = load_chart(chart_file)
    title, caption = charts.title_and_caption(chart.__doc__)
    sql = views.with_views(query_file.read_text(encoding="utf-8"))
    rows, findings = run_query(store.open_tables(tables), sql, settings)
    if not rows.num_rows:
        raise progress.JobError(
            f"{query_file.name} returned no rows from {', '.join(tables)}. The figures are "
            "drawn at T = 1: is 1.0 among tracing.temperatures? Does the model have the block in "
            "`settings`?"
        )
    shown = rounded(rows)
    drawn = chart.draw(shown)
    figure = (
        {
            "title": {"text": title, "subtitle": []},
            "table": drawn.as_dict(),
            "datasets": {"rows": shown.to_pylist()},
        }
        if isinstance(drawn, Table)
        else drawn.to_dict(validate=False)
    )
    figure["usermeta"] = {
        "title": title,
        "caption": caption,
        "findings": findings,
        "query": sql,
        "settings": dict(settings),
    }
    store.write_json(figure_file, figure)


def load_chart(chart_file: Path) -> ModuleType:
    """The figure's module, from its path: `reports/` is no package."""
    spec = importlib.util.spec_from_file_location(chart_file.stem, chart_file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{chart_file} is not a Python module.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
