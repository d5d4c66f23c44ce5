"""Names that must exist, and the patterns that stand for them."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prunescope.report import noise_limits
from prunescope.tables.schemas import PAPERS_READOUT, READOUTS, TABLES
from prunescope.workflow.messages import instead

Config = Mapping[str, Any]


def mistakes(config: Config) -> Iterator[str]:
    """References to models, corpora, variants and tables that nothing defines."""
    if config["default_model"] not in config["models"]:
        name = config["default_model"]
        yield f"default_model: there is no model {name!r}.{instead(name, config['models'])}"
    if config["calibration"]["corpus"] not in config["corpora"]:
        name = config["calibration"]["corpus"]
        yield f"calibration/corpus: there is no corpus {name!r}.{instead(name, config['corpora'])}"
    export = config.get("export", {})
    yield from _unmatched(export.get("model", []), config["models"], "export/model", "model")
    yield from _unmatched(
        export.get("variant", []), config["variants"], "export/variant", "variant"
    )
    readable = [name for name, table in TABLES.items() if "model" in table.partition]
    for figure, entry in config["figures"].items():
        where = f"figures/{figure}"
        yield from _unmatched(entry.get("models", []), config["models"], f"{where}/models", "model")
        yield from _tasks_amiss(figure, entry, config)
        prompt = entry.get("settings", {}).get("prompt")
        if prompt is not None and prompt not in config["prompts"]:
            guess = instead(prompt, config["prompts"])
            yield f"{where}/settings/prompt: there is no prompt {prompt!r}.{guess}"
        for table, keys in entry["reads"].items():
            reads = f"{where}/reads/{table}"
            if table not in readable:
                yield f"{where}/reads: there is no table {table!r}.{instead(table, readable)}"
                continue
            yield from _keys_amiss(table, keys, reads)
            yield from _unmatched(keys.get("model", []), config["models"], reads, "model")
            yield from _unmatched(keys.get("variant", []), config["variants"], reads, "variant")
            yield from _unmatched(keys.get("suite", []), config["suites"], reads, "suite")
            yield from _unmatched(keys.get("readout", []), READOUTS, reads, "readout")
    for model, settings in config["models"].items():
        where = f"models/{model}/embedding/sets"
        sets = settings.get("embedding", {}).get("sets", [])
        for name in sets:
            if name not in config["retrieval_sets"]:
                guess = instead(name, config["retrieval_sets"])
                yield f"{where}: there is no retrieval set {name!r}.{guess}"
    for suite, names in config["suites"].items():
        for name in names:
            if name not in config["tasks"]:
                yield f"suites/{suite}: there is no task {name!r}.{instead(name, config['tasks'])}"


def _tasks_amiss(figure: str, entry: Mapping[str, Any], config: Config) -> Iterator[str]:
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


def _keys_amiss(table: str, keys: Mapping[str, Any], reads: str) -> Iterator[str]:
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


def _unmatched(
    selection: Iterable[str], known: Iterable[str], where: str, kind: str
) -> Iterator[str]:
    for pattern in selection:
        if not _matches(pattern, known):
            yield f"{where}: there is no {kind} {pattern!r}.{instead(pattern, known)}"


def _matches(pattern: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if fnmatch.fnmatchcase(name, pattern)]


def written_out(config: Config) -> dict[str, Any]:
    """The sections `figures` and `export`, where there is one, with every name written out."""
    figures = {name: _with_names(entry, config) for name, entry in config["figures"].items()}
    return {"figures": figures, **_exported(config)}


def _with_names(entry: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """A figure's entry with models, variants, suites and readouts by name, in config's order.

    Each table it reads says of which models, the figure's unless it names its own; `models` are
    those of all its tables. Findings of traces need the noise floor, and those of what follows a
    trace need the trace. Intermediate states are read
    the paper's way unless a table says how.
    """
    known: dict[str, Iterable[str]] = {
        "model": config["models"],
        "variant": config["variants"],
        "suite": config["suites"],
        "readout": READOUTS,
    }
    models = entry.get("models", [config["default_model"]])
    asked = dict(entry["reads"])
    for table, trace in noise_limits.judged_by(entry["reads"]).items():
        asked.setdefault(trace, asked[table])
    if limited := noise_limits.applied_to(asked):
        named = [_selected(asked[table].get("model", models), known["model"]) for table in limited]
        asked.setdefault(noise_limits.FLOOR, {"model": [m for each in named for m in each]})
    reads = {
        table: {
            key: _selected(selection, known[key])
            for key, selection in {"model": models, **_readout(table), **keys}.items()
        }
        for table, keys in asked.items()
    }
    read = {model for keys in reads.values() for model in keys["model"]}
    return {**entry, "reads": reads, "models": [name for name in config["models"] if name in read]}


def _readout(table: str) -> dict[str, list[str]]:
    """The paper's readout, for tables that are kept by readout."""
    return {"readout": [PAPERS_READOUT]} if "readout" in TABLES[table].partition else {}


def _exported(config: Config) -> dict[str, Any]:
    """The section `export`, where there is one, with its models and variants by name."""
    if "export" not in config:
        return {}
    models = config["export"].get("model", [config["default_model"]])
    variants = config["export"]["variant"]
    named = {
        "model": _selected(models, config["models"]),
        "variant": _selected(variants, config["variants"]),
    }
    return {"export": named}


def _selected(selection: Iterable[str], known: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for pattern in selection for name in _matches(pattern, known)))
