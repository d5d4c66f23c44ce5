"""Build the report: figures and provenance in, one self-contained page out."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.measures.wording import visible
from prunescope.report import page
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


def build_report(
    figures: Sequence[str],
    manifests: Sequence[str],
    answers: Sequence[str],
    tables: Mapping[str, Sequence[str]],
    logs: str,
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
    logs : folder in which Snakemake timed every job, a folder per rule.
    timed : rules whose jobs are timed, in data-flow order.
    settings : seed, calibration, decoding and tracing settings, and the prompts.
    missing : figures that a failed run could not draw, and the jobs that each waits for.
    """
    drawn = {Path(file).stem: store.read_json(file) for file in figures}
    facts = [
        ("Models", models(manifests)),
        ("Settings", listed(settings)),
        ("Prompts", prompts(settings["prompts"])),
        ("Prompts as each model reads them", rendered(answers)),
        ("Software", software(tables)),
        ("Wall time by rule", wall_times(Path(logs), timed)),
    ]
    with store.written_whole(report_file) as part:
        part.write_text(page.render(drawn, facts, missing or {}), encoding="utf-8")


Rows = list[tuple[object, ...]]


def models(manifests: Sequence[str]) -> Rows:
    """Where each model came from, and the hash of its weights."""
    rows: Rows = [("model", "source", "blocks", "weights (sha256)")]
    for file in manifests:
        manifest = store.read_json(file)
        source = ", ".join(f"{key} {value}" for key, value in manifest["source"].items())
        hashes = [
            entry["sha256"][:16]
            for name, entry in manifest["files"].items()
            if name.endswith(".safetensors")
        ]
        name = Path(file).stem.removeprefix("model=")
        rows.append((name, source, manifest["n_blocks"], ", ".join(hashes)))
    return rows


def listed(settings: Mapping[str, Any]) -> Rows:
    """Every setting that decides a number, one row each."""
    rows: Rows = [("setting", "value")]
    for section, value in settings.items():
        if section == "prompts":
            continue
        entries = value.items() if isinstance(value, Mapping) else [("", value)]
        rows += [(f"{section}.{key}".rstrip("."), str(entry)) for key, entry in entries]
    return rows


def prompts(texts: Mapping[str, Mapping[str, str]]) -> Rows:
    """The prompts, as written in config."""
    rows: Rows = [("prompt", "kind", "text")]
    rows += [(name, each["kind"].replace("_", " "), each["text"]) for name, each in texts.items()]
    return rows


def rendered(answers: Sequence[str]) -> Rows:
    """Every prompt in its model's chat template, special tokens included."""
    rows: Rows = [("model", "prompt", "as it is read")]
    for file in answers:
        model = Path(file).parent.name.removeprefix("model=")
        for row in store.read(file, "dense_answer").to_pylist():
            if row["sampling_temperature"] == 0:  # greedy; the sampled ones read the same
                rows.append((model, row["prompt"], visible(row["rendered"])))
    return rows


def software(tables: Mapping[str, Sequence[str]]) -> Rows:
    """Versions and commits recorded in the tables: by table where a store has history."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for table, files in tables.items():
        for file in files:
            made_by = store.read_provenance(file)
            packages = made_by["packages"]
            assert isinstance(packages, dict)
            for name, version in {"prunescope commit": made_by["commit"], **packages}.items():
                found.setdefault(name, {}).setdefault(str(version), Counter())[table] += 1
    rows: Rows = [("package", "version")]
    return rows + [(name, _versions(found[name])) for name in found]


def _versions(found: Mapping[str, Mapping[str, int]]) -> str:
    """One version alone; several with the tables that each made, and how many files of them."""
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(
        f"{version}: " + ", ".join(f"{table} ({n})" for table, n in sorted(tables.items()))
        for version, tables in sorted(found.items())
    )


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
        logs=report.params.logs,
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


def wall_times(logs: Path, timed: Sequence[str]) -> Rows:
    """Jobs, seconds and largest memory of each rule, by Snakemake's own clock.

    All jobs whose logs are kept count; where the folder was cleared, there are none.
    """
    rows: Rows = [("rule", "jobs", "seconds in all", "longest job (s)", "largest memory (MB)")]
    for rule in timed:
        jobs = [job for file in sorted((logs / rule).rglob("*.seconds.tsv")) for job in runs(file)]
        if not jobs:
            continue
        seconds = [float(job["s"]) for job in jobs]
        memory = [float(job["max_rss"]) for job in jobs if job["max_rss"] not in ("-", "NA")]
        cells = (sum(seconds), max(seconds), max(memory, default=0.0))
        rows.append((rule, len(jobs), *(f"{cell:.1f}" for cell in cells)))
    return rows


def runs(file: Path) -> list[dict[str, str]]:
    """Rows of one of Snakemake's benchmark files."""
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("build_report", snakemake.log[0]):
        build_report(
            **inputs_of_page(_inputs(snakemake)),
            logs=snakemake.params.logs,
            timed=snakemake.params.timed,
            settings=snakemake.params.settings,
            report_file=snakemake.output.report,
        )
