"""Facts behind the figures, as tables of text: models, settings, prompts, software and times."""

import csv
import datetime
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope.measures.wording import visible
from prunescope.storage import store

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


def run(
    manifests: Sequence[str],
    tables: Mapping[str, Sequence[str]],
    timed: Sequence[str],
    n_prompts: int,
) -> list[tuple[str, str]]:
    """What was run, when, on which machine and how much of it, for the top of the page.

    Parameters
    ----------
    manifests : files that `fetch_model` wrote, one per model.
    tables : files of every table behind the figures, by the name of the table.
    timed : folders in which Snakemake timed its jobs.
    n_prompts : number of prompts in config.
    """
    names = [Path(file).stem.removeprefix("model=") for file in manifests]
    today = datetime.datetime.now(tz=datetime.UTC).date()
    files = [Path(file) for files in tables.values() for file in files]
    variants = {part for file in files for part in file.parts if part.startswith("variant=")}
    jobs = [job for folder in timed for job in all_runs(folder)]
    size = [f"{len(variants)} variants", f"{n_prompts} prompts"]
    items = sum(
        row["n_items"]
        for file in tables.get("task_scores", ())
        if "variant=dense" in Path(file).parts
        for row in store.read(file, "task_scores").to_pylist()
        if row["headline"]
    )
    size += [f"{items:,} items of tasks"] if items else []
    if jobs:
        minutes = sum(float(job["s"]) for job in jobs) / 60
        size.append(f"{len(jobs)} jobs that took {minutes:.0f} minutes in all")
    return [
        ("Model" if len(names) == 1 else "Models", ", ".join(names)),
        ("Page built", today.isoformat()),
        ("On", machine()),
        ("Size of the run", ", ".join(size)),
    ]


def machine(cpuinfo: str | Path = "/proc/cpuinfo") -> str:
    """The processor of this machine and how many cores this process may use.

    Parameters
    ----------
    cpuinfo : the file in which the kernel describes the processor.
    """
    file = Path(cpuinfo)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(named, platform.machine())}, {len(os.sched_getaffinity(0))} cores"


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


def wall_times(timed: Sequence[str]) -> Rows:
    """Jobs, seconds and largest memory of each rule, by Snakemake's own clock.

    Jobs count as long as their logs are kept; a cleared log folder leaves none.
    """
    rows: Rows = [("rule", "jobs", "seconds in all", "longest job (s)", "largest memory (MB)")]
    for folder in map(Path, timed):
        jobs = all_runs(folder)
        if not jobs:
            continue
        seconds = [float(job["s"]) for job in jobs]
        memory = [float(job["max_rss"]) for job in jobs if job["max_rss"] not in ("-", "NA")]
        cells = (sum(seconds), max(seconds), max(memory, default=0.0))
        rows.append((folder.name, len(jobs), *(f"{cell:.1f}" for cell in cells)))
    return rows


def all_runs(folder: str | Path) -> list[dict[str, str]]:
    """Rows of all of Snakemake's benchmark files in a folder."""
    return [job for file in sorted(Path(folder).rglob("*.seconds.tsv")) for job in runs(file)]


def runs(file: Path) -> list[dict[str, str]]:
    """Rows of one of Snakemake's benchmark files."""
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))
