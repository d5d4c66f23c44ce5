"""Check that names in config refer to something, and expand sets and patterns of names."""

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prunescope.compression import selections
from prunescope.report import noise_limits
from prunescope.tables.schemas import PAPERS_READOUT, READOUTS, TABLES
from prunescope.workflow import suites
from prunescope.workflow.messages import instead

Config = Mapping[str, Any]

_Unmatched = Callable[[str, Iterable[str], str], Iterator[str]]
"""(kind, selection, key) -> mistakes for entries of the selection that match no name."""

_Selected = Callable[[str, Iterable[str]], list[str]]
"""(kind, selection) -> the names that the selection matches."""


def mistakes(config: Config) -> Iterator[str]:
    """Refuse names of models, corpora, variants, tables and others that nothing defines."""
    known = _known(config)

    def unmatched(kind: str, selection: Iterable[str], where: str) -> Iterator[str]:
        return _unmatched(kind, selection, where, known[kind], _sets(kind, config))

    yield from _check_set_names(config)
    yield from _undefined("default_model", "model", [config["default_model"]], config["models"])
    corpus = config["calibration"]["corpus"]
    yield from _undefined("calibration/corpus", "corpus", [corpus], config["corpora"])
    export = config.get("export", {})
    for kind in ("model", "variant"):
        yield from unmatched(kind, export.get(kind, []), f"export/{kind}")
    for figure, entry in config["figures"].items():
        yield from _check_figure(figure, entry, config, unmatched)
    for model, settings in config["models"].items():
        sets = settings.get("embedding", {}).get("sets", [])
        where = f"models/{model}/embedding/sets"
        yield from _undefined(where, "retrieval set", sets, config["retrieval_sets"])
    reads = [keys for entry in config["figures"].values() for keys in entry["reads"].values()]
    are_read = _selected([s for keys in reads for s in keys.get("suite", [])], config["suites"])
    yield from suites.mistakes(config["suites"], config["tasks"], are_read)
    for suite, names in config["suites"].items():
        if not any(name in config["suites"] for name in names):
            yield from _undefined(f"suites/{suite}", "task", names, config["tasks"])


def _undefined(where: str, kind: str, names: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{where}: there is no {kind} {name!r}.{instead(name, known)}"


def _check_figure(
    figure: str, entry: Mapping[str, Any], config: Config, unmatched: _Unmatched
) -> Iterator[str]:
    """Refuse names in the entry of a figure that nothing defines or that its tables do not have."""
    where = f"figures/{figure}"
    yield from unmatched("model", entry.get("models", []), f"{where}/models")
    yield from _check_task_names(figure, entry, config)
    settings = entry.get("settings", {})
    prompts = [settings["prompt"]] if "prompt" in settings else []
    yield from _undefined(f"{where}/settings/prompt", "prompt", prompts, config["prompts"])
    readable = [name for name, table in TABLES.items() if "model" in table.partition]
    for table, keys in entry["reads"].items():
        if table not in readable:
            yield from _undefined(f"{where}/reads", "table", [table], readable)
            continue
        yield from _check_partition_keys(table, keys, f"{where}/reads/{table}")
        for kind in _known(config):
            yield from unmatched(kind, keys.get(kind, []), f"{where}/reads/{table}")


def _check_task_names(figure: str, entry: Mapping[str, Any], config: Config) -> Iterator[str]:
    """Refuse tasks in the settings of a figure that it does not read or whose family is another."""
    selections = [keys.get("suite", []) for keys in entry["reads"].values()]
    named = [s for selection in selections for s in _selected(selection, config["suites"])]
    tasks_of = suites.written_out(config["suites"])
    tasks = list(dict.fromkeys(task for suite in named for task in tasks_of[suite]))
    for family in ("non_generative", "generative"):
        task = entry.get("settings", {}).get(family)
        known = [t for t in tasks if config["tasks"].get(t, {}).get("family") == family]
        if task is not None and task not in known:
            yield (
                f"figures/{figure}/settings/{family}: the suites it reads have no {family} task "
                f"{task!r}.{instead(task, known)}"
            )


def _check_partition_keys(table: str, keys: Mapping[str, Any], reads: str) -> Iterator[str]:
    """Refuse partition keys of a table that are missing, or that the table does not have."""
    examples = {"variant": "'drop-*a'", "suite": "'core'", "selection": "'output_kl-*'"}
    for key, example in examples.items():
        if key in TABLES[table].partition and key not in keys:
            yield f"{reads} lacks `{key}`: names of {key}s, or patterns such as {example}."
        elif key not in TABLES[table].partition and key in keys:
            without = {k: v for k, v in keys.items() if k != key}
            yield f"{reads}: the table holds no {key}s. Write `{table}: {without}`."
    if "readout" in keys and "readout" not in TABLES[table].partition:
        without = {k: v for k, v in keys.items() if k != "readout"}
        yield f"{reads}: the table has one readout, the model's own. Write `{table}: {without}`."


def _known(config: Config) -> dict[str, Iterable[str]]:
    """The names that selections of each kind may refer to, in the order of config."""
    return {
        "model": config["models"],
        "variant": config["variants"],
        "suite": config["suites"],
        "selection": selections.sizes(config["variants"]),
        "readout": READOUTS,
    }


def _sets(kind: str, config: Config) -> Mapping[str, list[str]]:
    """The sets of models or of variants, with the names and patterns in each."""
    sets: Mapping[str, list[str]] = config.get(f"{kind}_sets", {})
    return sets


def _check_set_names(config: Config) -> Iterator[str]:
    """Refuse sets that have the name of a model or variant."""
    for kind in ("model", "variant"):
        for name in _sets(kind, config):
            if name in config[f"{kind}s"]:
                yield f"{kind}_sets/{name}: there is a {kind} of this name, too. Rename the set."


def _unmatched(
    kind: str,
    selection: Iterable[str],
    where: str,
    known: Iterable[str],
    sets: Mapping[str, list[str]],
) -> Iterator[str]:
    """Refuse names and patterns that match nothing, in a selection or in a set that it names.

    Parameters
    ----------
    kind : what is selected: model, variant, suite or readout.
    selection : names of entries or of sets, and patterns.
    where : the key of the selection, for messages.
    known : the names that may be selected.
    sets : the sets that may be named, with the names and patterns in each.
    """
    for name in selection:
        if name in sets:
            origin = f"{kind}_sets/{name}, which {where} names"
            yield from _unmatched(kind, sets[name], origin, known, {})
        elif not _matches(name, known):
            yield f"{where}: there is no {kind} {name!r}.{instead(name, [*known, *sets])}"


def _matches(pattern: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if fnmatch.fnmatchcase(name, pattern)]


def written_out(config: Config) -> dict[str, Any]:
    """The sections `figures` and, if config has it, `export`, with sets and patterns expanded."""
    known = _known(config)

    def selected(kind: str, selection: Iterable[str]) -> list[str]:
        sets = _sets(kind, config)
        patterns = [name for entry in selection for name in sets.get(entry, [entry])]
        return _selected(patterns, known[kind])

    figures = {
        name: _expand_figure(entry, config, selected) for name, entry in config["figures"].items()
    }
    return {"figures": figures, **_expand_export(config, selected)}


def _expand_figure(entry: Mapping[str, Any], config: Config, selected: _Selected) -> dict[str, Any]:
    """The entry of a figure with all models, variants, suites and readouts by name.

    A table without models of its own gets those of the figure, and `models` becomes the list of all
    models whose tables are read, in the order of config. Tables that the findings of the figure
    need are added: the noise floor for findings about a trace, and the trace for findings about
    what is computed from it. Tables with several readouts are read with that of the paper unless
    the entry names another.
    """
    models = entry.get("models", [config["default_model"]])
    table_keys = dict(entry["reads"])
    for table, trace in noise_limits.judged_by(entry["reads"]).items():
        table_keys.setdefault(trace, table_keys[table])
    if limited := noise_limits.applied_to(table_keys):
        selections = [table_keys[table].get("model", models) for table in limited]
        limited_models = [name for each in selections for name in selected("model", each)]
        table_keys.setdefault(noise_limits.FLOOR, {"model": limited_models})
    reads = {
        table: {
            key: selected(key, selection)
            for key, selection in {"model": models, **_readout(table), **keys}.items()
        }
        for table, keys in table_keys.items()
    }
    models_read = {model for keys in reads.values() for model in keys["model"]}
    models_in_order = [name for name in config["models"] if name in models_read]
    return {**entry, "reads": reads, "models": models_in_order}


def _readout(table: str) -> dict[str, list[str]]:
    """The readout of the paper, for tables that have a readout among their keys."""
    return {"readout": [PAPERS_READOUT]} if "readout" in TABLES[table].partition else {}


def _expand_export(config: Config, selected: _Selected) -> dict[str, Any]:
    """The section `export` with its models and variants by name, if config has this section."""
    if "export" not in config:
        return {}
    models = config["export"].get("model", [config["default_model"]])
    variants = config["export"]["variant"]
    return {
        "export": {
            **config["export"],
            "model": selected("model", models),
            "variant": selected("variant", variants),
        }
    }


def _selected(selection: Iterable[str], known: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for pattern in selection for name in _matches(pattern, known)))
