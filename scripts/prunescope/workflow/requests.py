"""What config asks for and the models, the disk or the workflow cannot give."""

import datetime
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope.compression import patterns
from prunescope.report import parsed_sql, views
from prunescope.tracing import letters
from prunescope.workflow import model_plan, source_requests
from prunescope.workflow.messages import instead

Config = Mapping[str, Any]

_WITHOUT_LOGITS = (
    "model_check",
    "noise_floor",
    "calibration",
    "influence",
    "compression_report",
    "compression_run",
    "retrieval_scores",
    "retrieval_samples",
)
"""Tables that a model without lm_head has."""


def figure_files(figure: str) -> tuple[str, str]:
    """Chart and query of one figure, relative to scripts/ as `fingerprint` reads them."""
    stem = f"../reports/figures/{figure}"
    return f"{stem}.py", f"{stem}.sql"


def mistakes(config: Config, basedir: Path) -> Iterator[str]:
    """What the figures ask for and the models, the disk or the workflow cannot give."""
    roots = {name: os.path.normpath(root) for name, root in config["pathvars"].items()}
    for one, other in itertools.combinations(roots, 2):
        if roots[one] == roots[other]:
            yield f"pathvars: {one} and {other} are both {roots[one]!r}. Give each its own folder."
    yield from source_requests.check_local_sources(config)
    yield from _check_option_letters(config["prompts"])
    yield from _check_date(config["prompting"]["date"])
    for task, entry in config["tasks"].items():
        yield from source_requests.check_splits(task, entry)
    yield from source_requests.check_code_runs(config)
    yield from source_requests.check_candidates(config)
    for variant, settings in config["variants"].items():
        if "pattern" in settings:
            try:
                patterns.parse(settings["pattern"])
            except ValueError as error:
                yield f"variants/{variant}: {error}."
    for figure, entry in config["figures"].items():
        yield from _check_figure_files(figure, basedir)
        yield from _check_query(figure, entry, config["tracing"]["temperatures"], basedir)
        for model in entry["models"]:
            reads = {t: keys for t, keys in entry["reads"].items() if model in keys["model"]}
            of_model = {**entry, "reads": reads}
            yield from _check_blocks(f"figures/{figure}", of_model, model, config)
            yield from _check_tables_of_kind(f"figures/{figure}", reads, model, config)
    for model in config["models"]:
        tables, variants = _read_of(model, config)
        if tables or variants:
            yield from model_plan.refusals(model, config, tables, variants)
    if "export" in config:
        for model in config["export"]["model"]:
            yield from _check_blocks("export", {"reads": {"": config["export"]}}, model, config)
            yield from _check_tables_of_kind(
                "export", {"checkpoints": config["export"]}, model, config
            )


def _read_of(model: str, config: Config) -> tuple[list[str], list[str]]:
    """Tables and variants that figures and the export read of a model, each once."""
    selections = [
        (table, keys)
        for entry in config["figures"].values()
        for table, keys in entry["reads"].items()
    ]
    selections += [("checkpoints", config["export"])] if "export" in config else []
    read = [(table, keys) for table, keys in selections if model in keys["model"]]
    variants = [variant for _, keys in read for variant in keys.get("variant", [])]
    return list(dict.fromkeys(t for t, _ in read)), list(dict.fromkeys(variants))


def _check_date(date: str) -> Iterator[str]:
    """A date that no calendar has, which chat templates could not be told."""
    try:
        datetime.date.fromisoformat(date)
    except ValueError:
        yield f"prompting/date is {date!r}, which is no day of the calendar. Choose one that is."


def _check_option_letters(prompts: Mapping[str, Any]) -> Iterator[str]:
    """Multiple-choice prompts without options that can be told apart."""
    for prompt, entry in prompts.items():
        if entry["kind"] == "multiple_choice":
            try:
                letters.options_of(entry["text"])
            except ValueError as error:
                yield f"prompts/{prompt}: {error}"


def _check_tables_of_kind(
    where: str, reads: Mapping[str, Mapping[str, Any]], model: str, config: Config
) -> Iterator[str]:
    """Tables that a model of its kind does not have."""
    settings = config["models"][model]
    if "embedding" not in settings:
        for table in sorted({"retrieval_scores", "retrieval_samples"}.intersection(reads)):
            yield (
                f"{where}/reads/{table}: models/{model} lacks `embedding`: how it turns a text "
                "into one vector, and the sets it is scored on."
            )
    if settings.get("kind", "causal") == "causal":
        return
    for table in reads:
        if table not in _WITHOUT_LOGITS:
            yield (
                f"{where} reads {table} of {model}, which is of kind encoder and has no logits. "
                "Name causal models there."
            )


def _check_figure_files(figure: str, basedir: Path) -> Iterator[str]:
    folder = basedir / "reports" / "figures"
    stems = sorted(path.stem for path in folder.glob("*.sql"))
    for name in figure_files(figure):
        if not (basedir / "scripts" / name).is_file():
            yield f"figures/{figure}: there is no {name[3:]}.{instead(figure, stems)}"


def _check_query(
    figure: str, entry: Mapping[str, Any], temperatures: Sequence[float], basedir: Path
) -> Iterator[str]:
    """What a figure's query asks of config: settings as `$name`, and the T it shows."""
    query = basedir / "reports" / "figures" / f"{figure}.sql"
    if not query.is_file():
        return  # told already
    try:
        sql = query.read_text(encoding="utf-8")
        asked = [*views.read_by(sql).values(), sql]
        settings = [name for each in asked for name in parsed_sql.parameters(each)]
        shown = [t for each in asked for t in parsed_sql.numbers_equal_to("temperature", each)]
    except ValueError as error:
        yield f"figures/{figure}: DuckDB cannot read its query, {query}: {error}"
        return
    for setting in dict.fromkeys(settings):
        if setting not in entry.get("settings", {}):
            yield f"figures/{figure} lacks settings/{setting}, which its query reads."
    for temperature in dict.fromkeys(shown):
        if float(temperature) not in temperatures:
            yield (
                f"tracing/temperatures is {temperatures}, but figures/{figure} shows "
                f"T = {temperature}. Add it."
            )


def _check_blocks(
    where: str, entry: Mapping[str, Any], model: str, config: Config
) -> Iterator[str]:
    """Blocks and sublayers that a figure shows or its variants drop, and the model lacks."""
    n_blocks = model_plan.n_blocks_of(model, config)
    if n_blocks is None:
        return
    block = entry.get("settings", {}).get("block", 0)
    if block >= n_blocks:
        yield (
            f"{where}/settings/block is {block}, but {model} has blocks 0 to {n_blocks - 1}. "
            "Choose one of these."
        )
    for variant in dict.fromkeys(v for k in entry["reads"].values() for v in k.get("variant", [])):
        settings = config["variants"][variant]
        n_drop = settings.get("n_drop", 0)
        kind = settings.get("sublayer", "block")
        n_there = 2 * n_blocks if kind == "any" else n_blocks
        what = {"block": "blocks", "any": "sublayers"}.get(kind, f"{kind} sublayers")
        if n_drop != "all" and n_drop > n_there:
            yield (
                f"variants/{variant}/n_drop is {n_drop}, but {model}, which {where} reads, has "
                f"{n_there} {what}. Drop fewer, or read other variants."
            )
