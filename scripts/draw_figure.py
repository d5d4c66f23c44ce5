"""Draw one figure from the rows of its query, as a Vega-Lite chart or a table of texts."""

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from prunescope import progress
from prunescope.inputs import sources
from prunescope.report import contents, figure_files, views
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
    files_dir: str | None = None,
) -> None:
    """Write one figure, with its title, caption and findings under `usermeta`, and files of it.

    Parameters
    ----------
    query_file : SQL file. It may create views, then returns the rows of the figure, then its
        findings. Views of reports/views/ that it reads are created first.
    chart_file : module with a function `draw(rows)`, whose docstring is the title and the caption.
    tables : files of each table that the query reads, by the name of the table.
    settings : values of the `$named` parameters of the query.
    figure_file : the JSON file to write.
    files_dir : the folder to write, if any, with the figure as SVG and PNG, rows and query.
    """
    chart = load_chart(chart_file)
    title, caption = contents.title_and_caption(chart.__doc__)
    sql = views.with_views(query_file.read_text(encoding="utf-8"))
    rows, findings = run_query(store.open_tables(tables), sql, settings)
    if not rows.num_rows:
        raise progress.JobError(
            f"{query_file.name} returned no rows from {', '.join(tables)}. The figures are "
            "drawn at T = 1: is 1.0 among tracing.temperatures? Does the model have the block in "
            "`settings`?"
        )
    rounded_rows = rounded(rows)
    drawn = chart.draw(rounded_rows)
    figure: dict[str, Any] = (
        {
            "title": {"text": title, "subtitle": []},
            "table": drawn.as_dict(),
            "datasets": {"rows": rounded_rows.to_pylist()},
        }
        if isinstance(drawn, Table)
        else drawn.to_dict(validate=False)
    )
    figure["usermeta"] = {
        **figure.get("usermeta", {}),
        "title": title,
        "caption": caption,
        "findings": findings,
        "query": sql,
        "settings": dict(settings),
    }
    if files_dir:
        with sources.scratch(beside=files_dir) as scratch:
            figure_files.write(scratch / "files", figure, rounded_rows)
            shutil.rmtree(files_dir, ignore_errors=True)
            store.move(scratch / "files", Path(files_dir))
    store.write_json(figure_file, figure)


def load_chart(chart_file: Path) -> ModuleType:
    """Load the module of a figure from its path, because `reports/` is not a package."""
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
            files_dir=snakemake.output.files,
        )
