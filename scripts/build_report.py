"""Build the report: figures and provenance in, one self-contained page out."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.report import facts, page
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


def build_report(
    figures: Sequence[str],
    manifests: Sequence[str],
    answers: Sequence[str],
    tables: Mapping[str, Sequence[str]],
    timed: Sequence[str],
    settings: Mapping[str, Any],
    report_file: str,
    missing: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write the report.

    Parameters
    ----------
    figures : files of draw_figure, in config's order; the stem is the figure's name.
    manifests : one of fetch_model for every model a figure reads.
    answers : tables `dense_answer`, which hold the prompts as each model read them.
    tables : every table behind the figures; what made them is read from their metadata.
    timed : folders in which Snakemake timed its jobs, one per rule, in data-flow order.
    settings : seed, calibration, decoding and tracing settings, and the prompts.
    missing : figures that a failed run could not draw, and the jobs that each waits for.
    """
    drawn = {Path(file).stem: store.read_json(file) for file in figures}
    behind = [
        ("Models", facts.models(manifests)),
        ("Settings", facts.listed(settings)),
        ("Prompts", facts.prompts(settings["prompts"])),
        ("Prompts as each model reads them", facts.rendered(answers)),
        ("Software", facts.software(tables)),
        ("Wall time by rule", facts.wall_times(timed)),
    ]
    with store.written_whole(report_file) as part:
        part.write_text(page.render(drawn, behind, missing or {}), encoding="utf-8")


def incomplete(
    report: Any, made: Callable[[str], bool], missing: Mapping[str, Sequence[str]]
) -> None:
    """The page of what a failed run did make, for `build_report` did not run.

    Its time is set back to before every input, so that the next run makes it anew.

    Parameters
    ----------
    report : Snakemake's job of `build_report`.
    made : says whether an input of it is there and of this run's state.
    missing : figures that are not, and the jobs that each waits for.
    """
    inputs = {name: [*filter(made, files)] for name, files in _inputs(report).items()}
    build_report(
        **inputs_of_page(inputs),
        timed=report.params.timed,
        settings=report.params.settings,
        report_file=report.output.report,
        missing=missing,
    )
    os.utime(report.output.report, (0, 0))


def _inputs(report: Any) -> dict[str, list[str]]:
    return {name: list(files) for name, files in report.input.items()}


def inputs_of_page(inputs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Arguments of `build_report` that are inputs of the rule, tables by name in one of them."""
    own = ("figures", "manifests", "answers")
    tables = {name: inputs[name] for name in TABLES if name in inputs}
    return {**{name: inputs[name] for name in own}, "tables": tables}


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("build_report", snakemake.log[0]):
        build_report(
            **inputs_of_page(_inputs(snakemake)),
            timed=snakemake.params.timed,
            settings=snakemake.params.settings,
            report_file=snakemake.output.report,
        )
