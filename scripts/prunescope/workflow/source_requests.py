"""Resolve local paths of sources, and check that sources and tasks can be used."""

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prunescope.workflow import suites

Config = Mapping[str, Any]

_TASKS_WITH_EXAMPLES = ("mbpp", "squad", "basic_arithmetic", "basic_code")
"""Tasks whose definition contains the solved examples, so that they need no split for them."""


def with_paths(config: dict[str, Any], basedir: Path) -> dict[str, Any]:
    """Config with the paths of local sources relative to the working directory of Snakemake.

    Parameters
    ----------
    config : config with paths relative to `basedir`.
    basedir : folder of the Snakefile.
    """

    def with_path(entry: Mapping[str, Any]) -> dict[str, Any]:
        sources = {key: entry[key] for key in ("source", "qrels") if key in entry}
        return {**entry, **{key: located(source, basedir) for key, source in sources.items()}}

    tasks = {
        name: {**entry, "rows": [with_path(split) for split in entry["rows"]]}
        for name, entry in config["tasks"].items()
    }
    sections = ("models", "corpora", "retrieval_sets")
    return (
        config
        | {
            section: {name: with_path(entry) for name, entry in config[section].items()}
            for section in sections
        }
        | {"tasks": tasks}
    )


def located(source: Mapping[str, Any], basedir: Path) -> dict[str, Any]:
    """A source whose path, if it has one, is relative to the working directory of Snakemake."""
    if source["from"] != "path":
        return dict(source)
    return {**source, "path": _from_working_directory(basedir, source["path"])}


def _from_working_directory(basedir: Path, path: str) -> str:
    """A path as jobs can open it; `~` is replaced by the home folder of the user."""
    expanded = Path(path).expanduser()
    return str(expanded) if expanded.is_absolute() else os.path.relpath(basedir / expanded)


def check_local_sources(config: Config) -> Iterator[str]:
    """Refuse local sources that do not exist; those that no figure needs are not checked."""
    models = {model for entry in config["figures"].values() for model in entry["models"]}
    corpus = config["calibration"]["corpus"]
    sources = {f"models/{name}/source": config["models"][name]["source"] for name in sorted(models)}
    sources[f"corpora/{corpus}/source"] = config["corpora"][corpus]["source"]
    for task in dict.fromkeys([*_tasks_read(config), *_tasks_matched(config)]):
        for entry in config["tasks"][task]["rows"]:
            sources[f"tasks/{task}/rows/{entry['split']}/source"] = entry["source"]
    for name in _retrieval_sets_read(config):
        entry = config["retrieval_sets"][name]
        for key in {"source", "qrels"}.intersection(entry):
            sources[f"retrieval_sets/{name}/{key}"] = entry[key]
    for where, source in sources.items():
        if source["from"] == "path" and not Path(source["path"]).exists():
            yield (
                f"{where}/path: there is no {Path(source['path']).resolve()}. "
                "Relative paths start at the Snakefile's folder."
            )


def _tasks_read(config: Config) -> list[str]:
    """Names of the tasks in all suites that figures read."""
    tasks_of = suites.written_out(config["suites"])
    read = [
        suite
        for entry in config["figures"].values()
        for keys in entry["reads"].values()
        for suite in keys.get("suite", [])
    ]
    return list(dict.fromkeys(task for suite in read for task in tasks_of[suite]))


def _retrieval_sets_read(config: Config) -> list[str]:
    """Names of the retrieval sets of all models whose retrieval tables figures read."""
    models = [
        model
        for entry in config["figures"].values()
        for table in ("retrieval_scores", "retrieval_samples", "retrieval_difference")
        for model in entry["reads"].get(table, {}).get("model", [])
    ]
    sets = [config["models"][model].get("embedding", {}).get("sets", []) for model in models]
    return list(dict.fromkeys(itertools.chain.from_iterable(sets)))


def _tasks_matched(config: Config) -> list[str]:
    """Names of the tasks that are asked in matched formats, if a figure reads the results."""
    is_read = any(
        {"matched_samples", "format_difference"} & entry["reads"].keys()
        for entry in config["figures"].values()
    )
    return [t for t in config["matched_formats"]["sources"] if t in config["tasks"] and is_read]


def check_candidates(config: Config) -> Iterator[str]:
    """Refuse sources of matched formats that are no task or have fewer items than candidates."""
    n_candidates = config["matched_formats"]["n_candidates"]
    for source, entry in config["matched_formats"]["sources"].items():
        where = f"matched_formats/sources/{source}"
        if source not in config["tasks"]:
            yield f"{where}: there is no task {source} to take rows from. Define it under `tasks`."
        if entry["n_items"] < n_candidates:
            yield (
                f"{where}/n_items is {entry['n_items']}, but each item chooses from {n_candidates} "
                "answers (matched_formats/n_candidates). Ask for more items."
            )


def check_splits(task: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """Refuse tasks without a split to score, without one for solved examples, or with one twice."""
    splits = [split["split"] for split in entry["rows"]]
    for split in sorted({split for split in splits if splits.count(split) > 1}):
        yield f"tasks/{task}/rows names the split {split} twice. Remove one."
    if not {"test", "validation"}.intersection(splits):
        yield f"tasks/{task}/rows has no split to score. Add `test` or `validation`."
    has_examples = entry.get("lm_eval", task) in _TASKS_WITH_EXAMPLES
    if entry["n_shot"] > 0 and not has_examples and not {"train", "dev"}.intersection(splits):
        yield (
            f"tasks/{task}/n_shot is {entry['n_shot']}, but its rows have no split to take solved "
            "examples from. Add `train` (or `dev`, where lm-eval takes them there), or set 0."
        )


def check_code_runs(config: Config) -> Iterator[str]:
    """Refuse tasks whose scoring runs programs if figures read them but config forbids it."""
    if config["benchmarks"]["run_code"]:
        return
    for task in _tasks_read(config):
        if config["tasks"][task].get("runs_code", False):
            yield (
                f"benchmarks/run_code is false, but a figure reads task {task}, which runs "
                "programs that a model wrote. Set it true (they run in a sandbox that proves "
                "itself first), or read a suite without the task."
            )
