"""The experiment that config describes: checked and expanded before the first job.

`rules/config.schema.yaml` says what each key may hold. What one key alone cannot tell is checked
here: names that must exist, blocks a model must have, folders that must be there.
"""

import difflib
import fnmatch
import functools
import itertools
import math
import os
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, validators

from prunescope.compression import patterns
from prunescope.paths import RULES
from prunescope.report import noise_limits, views
from prunescope.tables.schemas import PAPERS_READOUT, READOUTS, TABLES
from prunescope.tracing import letters
from prunescope.workflow import model_plan, yaml_keys

Config = dict[str, Any]
_Mistake = Any  # jsonschema.ValidationError, whose types allow every field to be missing

_EXAMPLES_OF_THEIR_OWN = ("mbpp", "squad")
"""Tasks whose solved examples stand in their own definition."""

ASKING = ("instruction", "queries_are_documents")
"""Keys of a retrieval set that say how it is asked, not what is in it."""

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

_SCHEMA_FILE = RULES / "config.schema.yaml"


class ConfigError(Exception):
    """Config cannot be run; one line per mistake, each with its key and the way out."""


yaml_keys.refuse_in(yaml.FullLoader, ConfigError)
"""The loader Snakemake reads config files with: a program that reads them so after importing this
module is told of keys given twice. Snakemake's own reading is before any import: `check_files`."""


def check_files(files: Iterable[str | Path]) -> None:
    """Raise ConfigError if a file of config gives a key twice; merged config no longer shows it."""
    _refuse(yaml_keys.all_duplicates(files))


def resolve(config: Mapping[str, Any], basedir: str | Path) -> Config:
    """Config with sweeps and patterns expanded, and nothing left to go wrong in it.

    Parameters
    ----------
    config : as Snakemake merged it from config.yaml, overlays and the command line.
    basedir : folder of the Snakefile, which relative paths of sources start from.

    Raises
    ------
    ConfigError
        if config breaks the schema, names what does not exist, or asks for what cannot be.
    """
    _refuse(_unusable_values(config, "config"))
    _refuse(_sweep_mistakes(config.get("variants")))
    expanded = {**config, "variants": expand_sweeps(config.get("variants", {}))}
    _refuse(_schema_mistakes(expanded))
    _refuse(_unknown_names(expanded))
    figures = {name: _with_names(entry, expanded) for name, entry in expanded["figures"].items()}
    named = {**expanded, "figures": figures, **_exported(expanded)}
    resolved = _with_paths(named, Path(basedir))
    _refuse(_impossible_requests(resolved, Path(basedir)))
    return resolved


def one_of(names: Iterable[str]) -> str:
    """Regular expression that matches exactly these names, or nothing if there are none."""
    return "|".join(re.escape(name) for name in names) or r"(?!)"


def figure_files(figure: str) -> tuple[str, str]:
    """Chart and query of one figure, relative to scripts/ as `fingerprint` reads them."""
    stem = f"../reports/figures/{figure}"
    return f"{stem}.py", f"{stem}.sql"


def expand_sweeps(variants: Mapping[str, Any]) -> dict[str, Any]:
    """One variant for every value of the lists that a variant's name mentions, in order.

    `drop-{n_drop}a: {n_drop: [1, 2]}` becomes drop-1a and drop-2a. An empty list gives none.
    """
    if not isinstance(variants, Mapping):
        return variants
    return {
        name: settings for template in variants for name, settings in _swept(template, variants)
    }


def _swept(template: str, variants: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    fields = _fields(template)
    if not fields:
        yield template, variants[template]
        return
    settings = variants[template]
    for values in itertools.product(*(settings[field] for field in fields)):
        chosen = dict(zip(fields, values, strict=True))
        yield template.format(**chosen), {**settings, **chosen}


def _fields(template: str) -> list[str]:
    """Settings that the name of a variant mentions in braces, each once."""
    found = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    return list(dict.fromkeys(found))


def _refuse(mistakes: Iterable[str]) -> None:
    lines = list(dict.fromkeys(mistakes))
    if lines:
        raise ConfigError("\n".join(f"config: {line}" for line in lines))


# ---- what any value must satisfy ------------------------------------------------------------


def _unusable_values(value: Any, where: str) -> Iterator[str]:
    """Empty values, names that YAML did not read as text, numbers that are none."""
    if value is None:
        yield f"{where} is empty. Give it a value, or remove the key."
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value}, which is not a number to compute with."
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{where} has the name {key!r}, which YAML does not read as text. Quote it."
            yield from _unusable_values(item, _join(where, key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, item in enumerate(value):
            yield from _unusable_values(item, _join(where, index))


def _sweep_mistakes(variants: Any) -> Iterator[str]:
    """Templates whose field has no list, and names that two entries would share."""
    if not isinstance(variants, Mapping):
        return
    expandable = []
    for template, settings in variants.items():
        where = f"variants/{template}"
        try:
            fields = _fields(template)
        except ValueError as error:
            yield f"{where}: the name has a brace out of place ({error})."
            continue
        lists = settings if isinstance(settings, Mapping) else {}
        unlisted = [field for field in fields if not isinstance(lists.get(field), list)]
        for field in unlisted:
            yield (
                f"{where}: the name mentions {{{field}}}, so its settings need a list "
                f"`{field}: [...]`, one variant per value."
            )
        if not unlisted:
            expandable.append(template)
    names = [name for template in expandable for name, _ in _swept(template, variants)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"variants: {name!r} is defined twice, once by a list. Rename one of them."


# ---- what the schema says -------------------------------------------------------------------


def _is_integer(_: Any, value: object) -> bool:
    """16.0 counts as an integer in JSON Schema, but not where it becomes a range or a size."""
    return isinstance(value, int) and not isinstance(value, bool)


@functools.cache
def schema() -> Config:
    """The config schema, as read from rules/config.schema.yaml."""
    with _SCHEMA_FILE.open(encoding="utf-8") as file:
        found: Config = yaml.safe_load(file)
    return found


def _schema_mistakes(config: Config) -> Iterator[str]:
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    validator = validators.extend(Draft202012Validator, type_checker=types)(schema())
    for error in sorted(validator.iter_errors(config), key=lambda e: list(map(str, e.path))):
        yield from _explained(error)


def _explained(error: _Mistake) -> Iterator[str]:
    """One line per mistake: where, what it is, what it must be."""
    where = "/".join(str(key) for key in error.absolute_path) or "the experiment"
    if "propertyNames" in error.schema_path:
        meaning = error.schema["description"]
        yield f"{where}: the name {error.instance!r} will not do. A name has {meaning}."
    elif error.validator == "oneOf" and "required" in error.validator_value[0]:
        either = [f"`{branch['required'][0]}`" for branch in error.validator_value]
        yield f"{where} must give exactly one of {' and '.join(either)}."
    elif error.validator == "oneOf":
        yield from _chosen_branch(error, where)
    elif error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        for key in error.instance:
            if key not in known:
                yield f"{where}: there is no key {key!r}.{_instead(key, known)}"
    elif error.validator == "required":
        properties = error.schema["properties"]
        for key in error.validator_value:
            if key not in error.instance:
                yield f"{where} lacks `{key}`: {_meaning(properties[key])}."
    else:
        demand = _DEMANDS[str(error.validator)](error)
        yield f"{where} is {_shown(error.instance)}; {demand} ({_meaning(error.schema)})."


def _chosen_branch(error: _Mistake, where: str) -> Iterator[str]:
    """Mistakes of the one alternative that `method` or `from` chooses."""
    branches: dict[int, list[_Mistake]] = {}
    for nested in error.context or ():
        branches.setdefault(int(nested.schema_path[0]), []).append(nested)
    choices = [_resolved(branch) for branch in error.validator_value]
    key = next(k for k, v in choices[0]["properties"].items() if "const" in v)
    names = [choice["properties"][key]["const"] for choice in choices]
    if not isinstance(error.instance, Mapping):
        yield f"{where} is {_shown(error.instance)}; it must be a mapping with `{key}`."
    elif key not in error.instance:
        yield f"{where} lacks `{key}`: one of {', '.join(names)}."
    elif error.instance[key] not in names:
        chosen = error.instance[key]
        yield f"{where}: there is no {key} {chosen!r}.{_instead(chosen, names)}"
    else:
        for nested in branches[names.index(error.instance[key])]:
            yield from _explained(nested)


def _resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the schema that a `$ref` points to."""
    found: Any = schema()
    for step in part.get("$ref", "#").split("/")[1:]:
        found = found[step]
    return found if "$ref" in part else part


def _meaning(part: Mapping[str, Any]) -> str:
    return str(part.get("description") or _resolved(part).get("description", "see the schema"))


def _type_demand(error: _Mistake) -> str:
    wanted = error.validator_value
    names = wanted if isinstance(wanted, list) else [wanted]
    quote = ", so quote it" if names == ["string"] and not _is_nested(error.instance) else ""
    return "it must be " + " or ".join(_TYPE_NAMES[name] for name in names) + quote


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping | list)


_TYPE_NAMES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}

_DEMANDS: dict[str, Callable[[_Mistake], str]] = {
    "type": _type_demand,
    "enum": lambda e: f"it must be one of {', '.join(map(str, e.validator_value))}",
    "not": lambda e: "remove it",
    "pattern": lambda e: "that is not of the form asked for",
    "minimum": lambda e: f"it must be at least {e.validator_value}",
    "maximum": lambda e: f"it must be at most {e.validator_value}",
    "exclusiveMinimum": lambda e: f"it must be above {e.validator_value}",
    "exclusiveMaximum": lambda e: f"it must be below {e.validator_value}",
    "minItems": lambda e: "it must hold something",
    "minLength": lambda e: "it must hold something",
    "minProperties": lambda e: "it must hold something",
    "uniqueItems": lambda e: "nothing may occur twice",
}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _join(where: str, key: object) -> str:
    return str(key) if where == "config" else f"{where}/{key}"


def _instead(name: object, known: Iterable[str]) -> str:
    """The nearest known name, and all of them unless they are too many to help."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    listed = f" There are: {', '.join(known) or 'none'}." if len(known) < 15 or not near else ""
    return guess + listed


# ---- names, and the patterns that stand for them ----------------------------------------------


def _unknown_names(config: Config) -> Iterator[str]:
    """References to models, corpora, variants and tables that nothing defines."""
    if config["default_model"] not in config["models"]:
        name = config["default_model"]
        yield f"default_model: there is no model {name!r}.{_instead(name, config['models'])}"
    if config["calibration"]["corpus"] not in config["corpora"]:
        name = config["calibration"]["corpus"]
        yield f"calibration/corpus: there is no corpus {name!r}.{_instead(name, config['corpora'])}"
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
            instead = _instead(prompt, config["prompts"])
            yield f"{where}/settings/prompt: there is no prompt {prompt!r}.{instead}"
        for table, keys in entry["reads"].items():
            reads = f"{where}/reads/{table}"
            if table not in readable:
                yield f"{where}/reads: there is no table {table!r}.{_instead(table, readable)}"
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
                instead = _instead(name, config["retrieval_sets"])
                yield f"{where}: there is no retrieval set {name!r}.{instead}"
    for suite, names in config["suites"].items():
        for name in names:
            if name not in config["tasks"]:
                yield f"suites/{suite}: there is no task {name!r}.{_instead(name, config['tasks'])}"


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
                f"{task!r}.{_instead(task, known)}"
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
            yield f"{where}: there is no {kind} {pattern!r}.{_instead(pattern, known)}"


def _matches(pattern: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if fnmatch.fnmatchcase(name, pattern)]


def _with_names(entry: Mapping[str, Any], config: Config) -> Config:
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


def _exported(config: Config) -> Config:
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


# ---- what cannot be ---------------------------------------------------------------------------


def _with_paths(config: Config, basedir: Path) -> Config:
    """Config with the paths of `path` sources relative to where Snakemake works."""

    def placed(entry: Mapping[str, Any]) -> Config:
        sources = {key: entry[key] for key in ("source", "qrels") if key in entry}
        moved = {
            key: {**source, "path": _from_here(basedir, source["path"])}
            for key, source in sources.items()
            if source["from"] == "path"
        }
        return {**entry, **moved}

    tasks = {
        name: {**entry, "rows": [placed(split) for split in entry["rows"]]}
        for name, entry in config["tasks"].items()
    }
    sections = ("models", "corpora", "retrieval_sets")
    return (
        config
        | {
            section: {name: placed(entry) for name, entry in config[section].items()}
            for section in sections
        }
        | {"tasks": tasks}
    )


def _from_here(basedir: Path, path: str) -> str:
    """A path as jobs can open it; `~` is the user's home."""
    whole = Path(path).expanduser()
    return str(whole) if whole.is_absolute() else os.path.relpath(basedir / whole)


def _impossible_requests(config: Config, basedir: Path) -> Iterator[str]:
    """What the figures ask for and the models, the disk or the workflow cannot give."""
    roots = {name: os.path.normpath(root) for name, root in config["pathvars"].items()}
    for one, other in itertools.combinations(roots, 2):
        if roots[one] == roots[other]:
            yield f"pathvars: {one} and {other} are both {roots[one]!r}. Give each its own folder."
    yield from _missing_sources(config)
    yield from _unlettered(config["prompts"])
    for task, entry in config["tasks"].items():
        yield from _unaskable(task, entry)
    yield from _unwanted_code(config)
    yield from _unmatchable(config)
    for variant, settings in config["variants"].items():
        if "pattern" in settings:
            try:
                patterns.parse(settings["pattern"])
            except ValueError as error:
                yield f"variants/{variant}: {error}."
    for figure, entry in config["figures"].items():
        yield from _missing_pair(figure, basedir)
        yield from _unanswered(figure, entry, config["tracing"]["temperatures"], basedir)
        for model in entry["models"]:
            reads = {t: keys for t, keys in entry["reads"].items() if model in keys["model"]}
            of_model = {**entry, "reads": reads}
            yield from _missing_blocks(f"figures/{figure}", of_model, model, config)
            yield from _not_made(f"figures/{figure}", reads, model, config)
    for model in config["models"]:
        tables, variants = _read_of(model, config)
        if tables or variants:
            yield from model_plan.refusals(model, config, tables, variants)
    if "export" in config:
        for model in config["export"]["model"]:
            yield from _missing_blocks("export", {"reads": {"": config["export"]}}, model, config)
            yield from _not_made("export", {"checkpoints": config["export"]}, model, config)


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


def _unlettered(prompts: Mapping[str, Any]) -> Iterator[str]:
    """Multiple-choice prompts without options that can be told apart."""
    for prompt, entry in prompts.items():
        if entry["kind"] == "multiple_choice":
            try:
                letters.options_of(entry["text"])
            except ValueError as error:
                yield f"prompts/{prompt}: {error}"


def _missing_sources(config: Config) -> Iterator[str]:
    """Local sources that a figure needs: a definition nobody reads may dangle."""
    read = {model for entry in config["figures"].values() for model in entry["models"]}
    corpus = config["calibration"]["corpus"]
    sources = {f"models/{name}/source": config["models"][name]["source"] for name in sorted(read)}
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
    """Tasks of every suite that a figure reads."""
    suites = [
        suite
        for entry in config["figures"].values()
        for keys in entry["reads"].values()
        for suite in keys.get("suite", [])
    ]
    return list(dict.fromkeys(task for suite in suites for task in config["suites"][suite]))


def _retrieval_sets_read(config: Config) -> list[str]:
    """Retrieval sets of every model whose scores a figure reads."""
    models = [
        model
        for entry in config["figures"].values()
        for table in ("retrieval_scores", "retrieval_samples")
        for model in entry["reads"].get(table, {}).get("model", [])
    ]
    sets = [config["models"][model].get("embedding", {}).get("sets", []) for model in models]
    return list(dict.fromkeys(itertools.chain.from_iterable(sets)))


def _not_made(
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


def _tasks_matched(config: Config) -> list[str]:
    """Tasks asked in three formats, if a figure reads the outcome."""
    read = any("matched_samples" in entry["reads"] for entry in config["figures"].values())
    return [t for t in config["matched_formats"]["sources"] if t in config["tasks"] and read]


def _unmatchable(config: Config) -> Iterator[str]:
    """Sources of matched formats that are no task, or have fewer items than candidates."""
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


def _unaskable(task: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """A task without rows to score, or with more solved examples than rows to take them from."""
    splits = [split["split"] for split in entry["rows"]]
    for split in sorted({split for split in splits if splits.count(split) > 1}):
        yield f"tasks/{task}/rows names the split {split} twice. Remove one."
    if not {"test", "validation"}.intersection(splits):
        yield f"tasks/{task}/rows has no split to score. Add `test` or `validation`."
    own = entry.get("lm_eval", task) in _EXAMPLES_OF_THEIR_OWN
    if entry["n_shot"] > 0 and not own and not {"train", "dev"}.intersection(splits):
        yield (
            f"tasks/{task}/n_shot is {entry['n_shot']}, but its rows have no split to take solved "
            "examples from. Add `train` (or `dev`, where lm-eval takes them there), or set 0."
        )


def _unwanted_code(config: Config) -> Iterator[str]:
    """Tasks a figure reads whose scoring runs programs, while config says to run none."""
    if config["benchmarks"]["run_code"]:
        return
    for task in _tasks_read(config):
        if config["tasks"][task].get("runs_code", False):
            yield (
                f"benchmarks/run_code is false, but a figure reads task {task}, which runs "
                "programs that a model wrote. Set it true (they run in a sandbox that proves "
                "itself first), or read a suite without the task."
            )


def _missing_pair(figure: str, basedir: Path) -> Iterator[str]:
    folder = basedir / "reports" / "figures"
    stems = sorted(path.stem for path in folder.glob("*.sql"))
    for name in figure_files(figure):
        if not (basedir / "scripts" / name).is_file():
            yield f"figures/{figure}: there is no {name[3:]}.{_instead(figure, stems)}"


def _unanswered(
    figure: str, entry: Mapping[str, Any], temperatures: Sequence[float], basedir: Path
) -> Iterator[str]:
    """What a figure's query asks of config: settings as `$name`, and the T it shows."""
    query = basedir / "reports" / "figures" / f"{figure}.sql"
    asked = views.with_views(query.read_text(encoding="utf-8")) if query.is_file() else ""
    for setting in dict.fromkeys(re.findall(r"\$([a-z]\w*)", asked)):
        if setting not in entry.get("settings", {}):
            yield f"figures/{figure} lacks settings/{setting}, which its query reads."
    for shown in dict.fromkeys(re.findall(r"\btemperature = ([0-9.]+)", asked)):
        if float(shown) not in temperatures:
            yield (
                f"tracing/temperatures is {temperatures}, but figures/{figure} shows T = {shown}. "
                "Add it."
            )


def _missing_blocks(
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
