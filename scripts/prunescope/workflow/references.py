"""Names that must exist, and what stands for several of them: sets and patterns."""

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prunescope.report import noise_limits
from prunescope.tables.schemas import PAPERS_READOUT, READOUTS, TABLES
from prunescope.workflow.messages import instead

Config = Mapping[str, Any]

_Unmatched = Callable[[str, Iterable[str], str], Iterator[str]]
"""(kind, selection, where) -> what nothing stands for in a selection."""

_Selected = Callable[[str, Iterable[str]], list[str]]
"""(kind, selection) -> the names that a selection stands for."""


def mistakes(config: Config) -> Iterator[str]:
    """References to models, corpora, variants and tables that nothing defines."""
    known = _known(config)

    def unmatched(kind: str, selection: Iterable[str], where: str) -> Iterator[str]:
        return _unmatched(kind, selection, where, known[kind], _sets(kind, config))

    yield from _check_set_names(config)
    yield from _undefined("default_model", "model", [config["default_model"]], config["models"])
    corpus = config["calibration"]["corpus"]
    yield from _undefined("calibration/corpus", "corpus", [corpus], config["corpora"])
    export = config.get("export", {})
    for kind in export:
        yield from unmatched(kind, export[kind], f"export/{kind}")
    for figure, entry in config["figures"].items():
        yield from _check_figure(figure, entry, config, unmatched)
    for model, settings in config["models"].items():
        sets = settings.get("embedding", {}).get("sets", [])
        where = f"models/{model}/embedding/sets"
        yield from _undefined(where, "retrieval set", sets, config["retrieval_sets"])
    for suite, names in config["suites"].items():
        yield from _undefined(f"suites/{suite}", "task", names, config["tasks"])


def _undefined(where: str, kind: str, names: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{where}: there is no {kind} {name!r}.{instead(name, known)}"


def _check_figure(
    figure: str, entry: Mapping[str, Any], config: Config, unmatched: _Unmatched
) -> Iterator[str]:
    """What one figure names and nothing defines, or its tables do not have."""
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
    """Tasks that a figure shows by their family and that are none, of the other, or not read."""
    selections = [keys.get("suite", []) for keys in entry["reads"].values()]
    suites = [s for selection in selections for s in _selected(selection, config["suites"])]
    read = list(dict.fromkeys(task for suite in suites for task in config["suites"][suite]))
    for family in ("non_generative", "generative"):
        task = entry.get("settings", {}).get(family)
        known = [t for t in read if config["tasks"].get(t, {}).get("family") == family]
        if task is not None and task not in known:
            yield (
                f"figures/{figure}/settings/{family}: the suites it reads have no {family} task "
                f"{task!r}.{instead(task, known)}"
            )


def _check_partition_keys(table: str, keys: Mapping[str, Any], reads: str) -> Iterator[str]:
    """Partition keys that a figure must name to read a table, and those the table has not."""
    examples = {"variant": "'drop-*a'", "suite": "'core'"}
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
    """What a selection of every kind may name, in config's order."""
    return {
        "model": config["models"],
        "variant": config["variants"],
        "suite": config["suites"],
        "readout": READOUTS,
    }


def _sets(kind: str, config: Config) -> Mapping[str, list[str]]:
    """Name of every set of models or of variants -> names and patterns in it."""
    found: Mapping[str, list[str]] = config.get(f"{kind}_sets", {})
    return found


def _check_set_names(config: Config) -> Iterator[str]:
    """Sets that are called as something else is."""
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
    """Names and patterns that stand for nothing, in a selection or in a set that it names."""
    for name in selection:
        if name in sets:
            origin = f"{kind}_sets/{name}, which {where} names"
            yield from _unmatched(kind, sets[name], origin, known, {})
        elif not _matches(name, known):
            yield f"{where}: there is no {kind} {name!r}.{instead(name, [*known, *sets])}"


def _matches(pattern: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if fnmatch.fnmatchcase(name, pattern)]


def written_out(config: Config) -> dict[str, Any]:
    """The sections `figures` and `export`, where there is one, with every name written out."""
    known = _known(config)

    def selected(kind: str, selection: Iterable[str]) -> list[str]:
        members = _sets(kind, config)
        each = [name for entry in selection for name in members.get(entry, [entry])]
        return _selected(each, known[kind])

    figures = {
        name: _with_names(entry, config, selected) for name, entry in config["figures"].items()
    }
    return {"figures": figures, **_exported(config, selected)}


def _with_names(entry: Mapping[str, Any], config: Config, selected: _Selected) -> dict[str, Any]:
    """A figure's entry with models, variants, suites and readouts by name, in config's order.

    Each table it reads says of which models, the figure's unless it names its own; `models` are
    those of all its tables. Findings of traces need the noise floor, and those of what follows a
    trace need the trace. Intermediate states are read the paper's way unless a table says how.
    """
    models = entry.get("models", [config["default_model"]])
    asked = dict(entry["reads"])
    for table, trace in noise_limits.judged_by(entry["reads"]).items():
        asked.setdefault(trace, asked[table])
    if limited := noise_limits.applied_to(asked):
        named = [selected("model", asked[table].get("model", models)) for table in limited]
        asked.setdefault(noise_limits.FLOOR, {"model": [m for each in named for m in each]})
    reads = {
        table: {
            key: selected(key, selection)
            for key, selection in {"model": models, **_readout(table), **keys}.items()
        }
        for table, keys in asked.items()
    }
    read = {model for keys in reads.values() for model in keys["model"]}
    return {**entry, "reads": reads, "models": [name for name in config["models"] if name in read]}


def _readout(table: str) -> dict[str, list[str]]:
    """The paper's readout, for tables that are kept by readout."""
    return {"readout": [PAPERS_READOUT]} if "readout" in TABLES[table].partition else {}


def _exported(config: Config, selected: _Selected) -> dict[str, Any]:
    """The section `export`, where there is one, with its models and variants by name."""
    if "export" not in config:
        return {}
    models = config["export"].get("model", [config["default_model"]])
    variants = config["export"]["variant"]
    named = {
        "model": selected("model", models),
        "variant": selected("variant", variants),
    }
    return {"export": named}


def _selected(selection: Iterable[str], known: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for pattern in selection for name in _matches(pattern, known)))
