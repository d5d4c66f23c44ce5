"""Build the report, one self-contained page, from the figures and from what made them."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.report import facts, page
from prunescope.storage import seals, store
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
    figures : files that `draw_figure` wrote, named after the figures, in the order of config.
    manifests : files that `fetch_model` wrote, one for each model that a figure reads.
    answers : files of table `dense_answer`, which holds the prompts as each model read them.
    tables : files of every table behind the figures, and of `claim_verdict`, by its name.
    timed : folders in which Snakemake timed its jobs, one per rule, in order.
    settings : seed, calibration, decoding and tracing settings, and the prompts, as in config.
    report_file : the HTML file to write.
    missing : figures that a failed run could not draw, with the jobs each waits for.
    """
    drawn_figures = {Path(file).stem: store.read_json(file) for file in figures}
    background = [
        ("Models", facts.models(manifests)),
        ("Settings", facts.listed(settings)),
        ("Prompts", facts.prompts(settings["prompts"])),
        ("Prompts as each model reads them", facts.rendered(answers)),
        ("Software", facts.software(tables)),
        ("Wall time by rule", facts.wall_times(timed)),
    ]
    judged = tables.get("claim_verdict", ())
    verdicts = [row for file in judged for row in store.read(file, "claim_verdict").to_pylist()]
    run = facts.run(manifests, tables, timed, len(settings["prompts"]))
    has_items = "task_samples" in tables
    html = page.render(drawn_figures, verdicts, background, missing or {}, has_items, run)
    with store.written_whole(report_file) as part_file:
        part_file.write_text(html, encoding="utf-8")
        seals.seal(part_file)


def incomplete(
    report: Any, made: Callable[[str], bool], missing: Mapping[str, Sequence[str]]
) -> None:
    """Write the report after a failed run, in which `build_report` did not run, from what exists.

    The page is dated before every input, so that the next run builds it again.

    Parameters
    ----------
    report : Snakemake's job of `build_report`.
    made : tells whether an input file of that job exists and is up to date.
    missing : names of the figures that were not drawn, with the jobs that each waits for.
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
    """Arguments of `build_report` that are inputs of the rule, with all tables in one of them."""
    arguments = ("figures", "manifests", "answers")
    tables = {name: inputs[name] for name in TABLES if name in inputs}
    return {**{name: inputs[name] for name in arguments}, "tables": tables}


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("build_report", snakemake.log[0]):
        build_report(
            **inputs_of_page(_inputs(snakemake)),
            timed=snakemake.params.timed,
            settings=snakemake.params.settings,
            report_file=snakemake.output.report,
        )
