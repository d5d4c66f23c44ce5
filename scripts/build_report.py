"""Build the report: figures and provenance in, one self-contained page out."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope import page, progress, store
from prunescope.schemas import TABLES
from prunescope.texts import visible


def build_report(
    figures: Sequence[str],
    manifests: Sequence[str],
    answers: Sequence[str],
    tables: Mapping[str, Sequence[str]],
    timings: Mapping[str, Sequence[str]],
    settings: Mapping[str, Any],
    report_file: str,
) -> None:
    """Write the report.

    Parameters
    ----------
    figures : files of draw_figure, in config's order; the stem is the figure's name.
    manifests : one of fetch_model for every model a figure reads.
    answers : tables `dense_answer`, which hold the prompts as each model read them.
    tables : every table behind the figures; what made them is read from their metadata.
    timings : what Snakemake timed of the jobs behind the figures, by rule.
    settings : seed, calibration, decoding and tracing settings, and the prompts.
    """
    drawn = {Path(file).stem: store.read_json(file) for file in figures}
    facts = [
        ("Models", models(manifests)),
        ("Settings", listed(settings)),
        ("Prompts", prompts(settings["prompts"])),
        ("Prompts as each model reads them", rendered(answers)),
        ("Software", software(tables)),
        ("Wall time by stage", wall_times(timings)),
    ]
    with store.written_whole(report_file) as part:
        part.write_text(page.render(drawn, facts), encoding="utf-8")


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
    """Versions and commits recorded in the tables: more than one where a store has history."""
    versions: dict[str, set[str]] = {}
    for file in (file for files in tables.values() for file in files):
        made_by = store.read_provenance(file)
        versions.setdefault("prunescope commit", set()).add(str(made_by["commit"]))
        packages = made_by["packages"]
        assert isinstance(packages, dict)
        for name, version in packages.items():
            versions.setdefault(name, set()).add(version)
    rows: Rows = [("package", "version")]
    return rows + [(name, ", ".join(sorted(found))) for name, found in versions.items()]


def wall_times(timings: Mapping[str, Sequence[str]]) -> Rows:
    """Jobs, seconds and largest memory of each rule, by Snakemake's own clock."""
    rows: Rows = [("stage", "jobs", "seconds in all", "longest job (s)", "largest memory (MB)")]
    for rule, files in timings.items():
        jobs = [job for file in files for job in timed(file)]
        if not jobs:
            continue
        seconds = [float(job["s"]) for job in jobs]
        memory = [float(job["max_rss"]) for job in jobs if job["max_rss"] not in ("-", "NA")]
        cells = (sum(seconds), max(seconds), max(memory, default=0.0))
        rows.append((rule, len(jobs), *(f"{cell:.1f}" for cell in cells)))
    return rows


def timed(file: str) -> list[dict[str, str]]:
    """Rows of one of Snakemake's benchmark files; none where the log folder was cleared."""
    if not Path(file).is_file():
        return []
    with Path(file).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    files = {name: list(each) for name, each in snakemake.input.items()}
    with progress.job("build_report", snakemake.log[0]):
        build_report(
            figures=files.pop("figures"),
            manifests=files.pop("manifests"),
            answers=files.pop("answers"),
            tables={name: files.pop(name) for name in TABLES if name in files},
            timings=snakemake.params.timings,
            settings=snakemake.params.settings,
            report_file=snakemake.output.report,
        )
