"""Check that the models, the disk and the workflow can provide what config requests."""

import datetime
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope.compression import patterns, selections
from prunescope.report import parsed_sql, views
from prunescope.tables import evaluation
from prunescope.tables.schemas import TABLES
from prunescope.tracing import letters
from prunescope.workflow import model_plan, source_requests
from prunescope.workflow.messages import instead

Config = Mapping[str, Any]


def figure_files(figure: str) -> tuple[str, str]:
    """Paths of the chart and the query of a figure, relative to scripts/, as for `fingerprint`."""
    stem = f"../reports/figures/{figure}"
    return f"{stem}.py", f"{stem}.sql"


def mistakes(config: Config, basedir: Path) -> Iterator[str]:
    """Refuse requests that the models, the disk or the workflow cannot provide.

    Parameters
    ----------
    config : config after `experiment.resolve` has expanded it.
    basedir : folder of the Snakefile.
    """
    roots = {name: os.path.normpath(root) for name, root in config["pathvars"].items()}
    for first, second in itertools.combinations(roots, 2):
        if roots[first] == roots[second]:
            yield (
                f"pathvars: {first} and {second} are both {roots[first]!r}. "
                "Give each its own folder."
            )
    yield from source_requests.check_local_sources(config)
    yield from _check_option_letters(config["prompts"])
    yield from _check_date(config["prompting"]["date"])
    yield from _check_selection_prompts(config)
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
            model_entry = {**entry, "reads": reads}
            yield from _check_blocks(f"figures/{figure}", model_entry, model, config)
            yield from _check_tables_of_kind(f"figures/{figure}", reads, model, config)
    for model in config["models"]:
        tables, variants = _tables_and_variants_read(model, config)
        yield from _check_selections(model, variants, config)
        if tables or variants:
            yield from model_plan.refusals(model, config, tables, variants)
    if "export" in config:
        for model in config["export"]["model"]:
            yield from _check_blocks("export", {"reads": {"": config["export"]}}, model, config)
            yield from _check_tables_of_kind(
                "export", {"checkpoints": config["export"]}, model, config
            )


def _tables_and_variants_read(model: str, config: Config) -> tuple[list[str], list[str]]:
    """Names of the tables and variants of a model that figures and the export read, each once."""
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
    """Refuse a date that does not exist."""
    try:
        datetime.date.fromisoformat(date)
    except ValueError:
        yield f"prompting/date is {date!r}, which is no day of the calendar. Choose one that is."


def _check_option_letters(prompts: Mapping[str, Any], key: str = "prompts") -> Iterator[str]:
    """Refuse multiple-choice prompts whose options cannot be recognized."""
    for prompt, entry in prompts.items():
        if entry["kind"] == "multiple_choice":
            try:
                letters.options_of(entry["text"])
            except ValueError as error:
                yield f"{key}/{prompt}: {error}"


def _check_selection_prompts(config: Config) -> Iterator[str]:
    """Refuse a selection on prompts that are missing, or by which variants are judged, too.

    What is chosen on a prompt fits this prompt better than others, so that it must not be measured
    on it. Texts are compared without case, spaces and punctuation.
    """
    given = config.get("selection_prompts", {})
    yield from _check_option_letters(given, "selection_prompts")
    for variant, settings in config["variants"].items():
        if settings.get("text") in selections.NEEDS_PROMPTS and not given:
            yield (
                f"variants/{variant}/text is {settings['text']}, but there are no "
                "selection_prompts. Add this section, with prompts that `prompts` does not have."
            )
    judged = {_compared_text(entry["text"]): name for name, entry in config["prompts"].items()}
    for name, entry in given.items():
        same = name if name in config["prompts"] else judged.get(_compared_text(entry["text"]))
        if same is not None:
            yield (
                f"selection_prompts/{name}: variants are judged on it as prompts/{same}, so that "
                "it must not choose what they drop. Write another prompt."
            )


def _check_selections(model: str, variants: Sequence[str], config: Config) -> Iterator[str]:
    """Refuse a selection by logits or answers for a model that has none."""
    if config["models"][model].get("kind", "causal") == "causal":
        return
    for variant in variants:
        if selections.of_variant(config["variants"][variant]) is not None:
            yield (
                f"variants/{variant}: {model} is of kind encoder and has no logits or answers to "
                "choose by. Leave criterion, text and search out, or read it of causal models."
            )


def _compared_text(text: str) -> str:
    """The letters and digits of a text, in one case."""
    return "".join(each for each in text.casefold() if each.isalnum())


def _check_tables_of_kind(
    where: str, reads: Mapping[str, Mapping[str, Any]], model: str, config: Config
) -> Iterator[str]:
    """Refuse tables, or `checkpoints` to export, that do not exist for models of this kind."""
    settings = config["models"][model]
    if "embedding" not in settings:
        for table in sorted({table.name for table in evaluation.RETRIEVAL}.intersection(reads)):
            yield (
                f"{where}/reads/{table}: models/{model} lacks `embedding`: how it turns a text "
                "into one vector, and the sets it is scored on."
            )
    if settings.get("kind", "causal") == "causal":
        return
    for table in reads:
        if table not in TABLES or TABLES[table].needs_lm_head:
            yield (
                f"{where} reads {table} of {model}, which is of kind encoder and has no logits. "
                "Name causal models there."
            )


def _check_figure_files(figure: str, basedir: Path) -> Iterator[str]:
    """Refuse figures without a query or a chart."""
    folder = basedir / "reports" / "figures"
    stems = sorted(path.stem for path in folder.glob("*.sql"))
    for name in figure_files(figure):
        if not (basedir / "scripts" / name).is_file():
            yield f"figures/{figure}: there is no {name[3:]}.{instead(figure, stems)}"


def _check_query(
    figure: str, entry: Mapping[str, Any], temperatures: Sequence[float], basedir: Path
) -> Iterator[str]:
    """Refuse figures whose query needs a setting or a temperature that config does not have."""
    query_file = basedir / "reports" / "figures" / f"{figure}.sql"
    if not query_file.is_file():
        return  # reported by _check_figure_files
    try:
        sql = query_file.read_text(encoding="utf-8")
        queries = [*views.read_by(sql).values(), sql]
        settings = [name for each in queries for name in parsed_sql.parameters(each)]
        shown = [t for each in queries for t in parsed_sql.numbers_equal_to("temperature", each)]
    except ValueError as error:
        yield f"figures/{figure}: DuckDB cannot read its query, {query_file}: {error}"
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
    """Refuse a block in the settings, or a number to drop, that exceeds those of the model."""
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
        n_available = 2 * n_blocks if kind == "any" else n_blocks
        noun = {"block": "blocks", "any": "sublayers"}.get(kind, f"{kind} sublayers")
        if n_drop != "all" and n_drop > n_available:
            yield (
                f"variants/{variant}/n_drop is {n_drop}, but {model}, which {where} reads, has "
                f"{n_available} {noun}. Drop fewer, or read other variants."
            )
