"""One model on the command line: `model` in config names it, and everything else is read from it.

`model` is a folder as on the hub, a GGUF file, the id of a hub model (`owner/name`, or
`owner/name@revision`), or a name under `models`. Its entry under `models` is written here from its
config.json, its results get folders of their own, and figures show it alone.

What must not change from run to run is recorded in the store when the model is first named: the
commit of a hub model, and the number type, which depends on the machine.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prunescope.inputs import hub, model_config, model_folder, sources
from prunescope.inputs.model_config import ModelConfig
from prunescope.machine import processor
from prunescope.progress import JobError
from prunescope.tables.schemas import TABLES
from prunescope.workflow import model_plan, source_requests
from prunescope.workflow.messages import ConfigError, instead

Config = Mapping[str, Any]

RECORD = ".model.json"
"""Name of the file in the store that says which model was asked for."""

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w./-]+))?")

_COMMIT = re.compile(r"[0-9a-f]{40}")

_NO_MODEL_NAMES = frozenset(TABLES) | {"inputs", "edits", "documents", "figures", "exports"}
"""Names of folders in a store or beside a page, which would be taken for parts of it."""

_LONGEST_EMBEDDED_TEXT = 128
"""Length in tokens at which texts are embedded if the model could read more."""


def written_out(config: Config, basedir: Path) -> dict[str, Any]:
    """Config in which `model` has become an entry under `models`, the default model.

    Parameters
    ----------
    config : config as it was merged, before it is checked.
    basedir : folder of the Snakefile.

    Raises
    ------
    ConfigError
        if there is no such model, if it cannot be run, or if its name is taken.
    """
    asked = config.get("model")
    if asked is None or asked == config.get("default_model"):
        return dict(config)
    if not isinstance(asked, str) or not asked.strip():
        raise ConfigError(
            f"config: model is {asked!r}; it must be a folder, a GGUF file, the id of a hub model "
            "or a name under `models`. Quote it: --config 'model=\"...\"'."
        )
    models = config.get("models")
    if not isinstance(models, Mapping) or not isinstance(config.get("pathvars"), Mapping):
        return dict(config)  # refused when config is checked
    if asked in models and not Path(asked).is_dir():
        name, entry = asked, dict(models[asked])
    else:
        source = _source_of(asked, models, basedir)
        name = _name_of(config.get("model_name"), asked)
        entry = {**models[name], "source": source} if name in models else {"source": source}
    pathvars = _own_folders(config["pathvars"], name)
    wish = _Wish(asked, name, Path(str(pathvars["store"])), config, basedir)
    entry = _read(entry, wish)
    return {
        **config,
        "pathvars": pathvars,
        "models": {**models, name: entry},
        "default_model": name,
    }


@dataclass(frozen=True)
class _Wish:
    """A model as it was named.

    Attributes
    ----------
    asked : the path, the id or the name under `models`.
    name : its name in config.
    store : the store of its results, which keeps the record.
    config : the whole config, with the usual default model.
    basedir : folder of the Snakefile.
    """

    asked: str
    name: str
    store: Path
    config: Config
    basedir: Path


def _source_of(asked: str, models: Mapping[str, Any], basedir: Path) -> dict[str, str]:
    """The source of a path or a hub id; a hub id has no `revision` yet if it names none."""
    path = Path(asked).expanduser()
    if path.exists():
        full = path.is_absolute() or asked.startswith("~")
        return {"from": "path", "path": str(path) if full else os.path.relpath(path, basedir)}
    found = _HUB_ID.fullmatch(asked)
    if found is None or asked.endswith(".gguf") or asked.startswith(("./", "../")):
        raise ConfigError(
            f"config: model: there is no folder or file {path.absolute()}.{instead(asked, models)} "
            "Name a folder as on the hub, a GGUF file, or the id of a hub model (owner/name)."
        )
    return {"from": "hub", "id": found[1], "revision": found[2] or "main"}


def _name_of(given: object, asked: str) -> str:
    """The model's name in config and in paths: `model_name`, or one made from its path or id."""
    if given is not None:
        return str(given)
    last = Path(re.sub(r"@[\w./-]+$", "", asked)).expanduser().resolve().name
    name = re.sub(r"[^a-z0-9._-]+", "-", last.lower().removesuffix(".gguf")).strip("-._")
    return f"{name or 'model'}-model" if name in {*_NO_MODEL_NAMES, ""} else name


def _own_folders(pathvars: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: f"{root}/{name}" for key, root in pathvars.items()}


# ---- the entry under `models` --------------------------------------------------------------------


def _read(entry: Mapping[str, Any], wish: _Wish) -> dict[str, Any]:
    """The entry of the model with everything that it does not say itself."""
    source = dict(entry["source"])
    record = _recorded(wish, source)
    if source.get("from") == "hub" and not _COMMIT.fullmatch(source["revision"]):
        source["revision"] = record.get("revision") or _pinned(source)
    if source.get("from") == "hub" and not hub.cached_config(source).is_file():
        _pinned(source)  # fetches config.json
    settings = _settings(source, wish)
    kind = entry.get("kind") or model_config.kind_of(settings)
    dtype = entry.get("dtype") or record.get("dtype") or _dtype_of(settings)
    found: dict[str, Any] = {"source": source, "dtype": dtype, "kind": kind}
    if "embedding" not in entry:
        found |= _embedding(settings, source, kind, wish)
    _record(wish.store, {"asked": wish.asked, **_what_is_recorded(source, dtype)})
    return {**entry, **found}


def _recorded(wish: _Wish, source: Mapping[str, Any]) -> dict[str, Any]:
    """What the store says of the model; raises ConfigError if it holds results of another one."""
    asked, store = wish.asked, wish.store
    file = store / RECORD
    advice = (
        "Give this one another name: make report MODEL=... NAME=..., or --config model_name=...; "
        f"or move {store} away."
    )
    if not file.is_file():
        if (store / ".records").is_dir():
            raise ConfigError(f"config: model: {store} holds another experiment. {advice}")
        return {}
    try:
        record = dict(json.loads(file.read_text(encoding="utf-8")))
        record["asked"]
    except (ValueError, TypeError, KeyError):
        raise ConfigError(
            f"config: model: {file}, which says whose results {store} holds, is damaged. {advice}"
        ) from None
    same_path = "path" in record and record["path"] == _full_path(source)
    if record["asked"] != asked and not same_path:
        raise ConfigError(
            f"config: model: {store} holds results of {record['asked']}, a model of the same name "
            f"as {asked}. {advice}"
        )
    return record


def _full_path(source: Mapping[str, Any]) -> str | None:
    return str(Path(source["path"]).expanduser().resolve()) if "path" in source else None


def _what_is_recorded(source: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    known = {"path": _full_path(source), "revision": source.get("revision"), "dtype": dtype}
    return {key: value for key, value in known.items() if value is not None}


def _record(store: Path, content: Mapping[str, Any]) -> None:
    """Write the record, unless it stands there already."""
    file, text = store / RECORD, json.dumps(content, indent=2, sort_keys=True) + "\n"
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return
    store.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{RECORD}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def _pinned(source: Mapping[str, str]) -> str:
    try:
        return hub.pin(source["id"], source["revision"])
    except JobError as error:
        raise ConfigError(
            f"config: model: there is no folder {source['id']}, so that it was looked for on the "
            f"hub. {error}"
        ) from None


def _settings(source: Mapping[str, Any], wish: _Wish) -> ModelConfig:
    """The model's config.json or the settings of its GGUF file; empty if not at hand."""
    located = source_requests.located(source, wish.basedir)
    where = f"config: model: {sources.describe(located)}"
    try:
        if located["from"] == "path" and Path(located["path"]).is_dir():
            for reason in model_folder.refusals(sources.model_files(located, Path()), None):
                raise ConfigError(f"{where}: {reason}")
        found = model_plan.settings_at(located, wish.store / "inputs" / f"model={wish.name}")
    except (ValueError, OSError, JobError) as error:
        raise ConfigError(f"{where}: {error}") from None
    for reason in model_config.refusals(found) if found else ():
        raise ConfigError(f"{where}: {reason}")
    return found or {}


def _dtype_of(settings: ModelConfig) -> str:
    """The model's own number type on a GPU; on a CPU, bfloat16 only where it is fast."""
    own = str(settings.get("dtype") or settings.get("torch_dtype") or "float32")
    own = own.removeprefix("torch.")
    if own not in ("bfloat16", "float16"):
        return "float32"
    if processor.has_gpu():
        return own
    return "bfloat16" if processor.computes_bfloat16() else "float32"


def _embedding(
    settings: ModelConfig, source: Mapping[str, Any], kind: str, wish: _Wish
) -> dict[str, Any]:
    """How the model embeds texts.

    A language model is asked as the default model of config is, an encoder takes the mean over
    tokens, or what its 1_Pooling/config.json says.

    Parameters
    ----------
    settings : the model's config.json.
    source : the source of the model.
    kind : `causal` or `encoder`.
    wish : the model as it was named.
    """
    config = wish.config
    positions = model_config.shape_of(settings).positions or _LONGEST_EMBEDDED_TEXT
    if kind == "causal":
        usual = config["models"].get(config.get("default_model"), {}).get("embedding")
        if not usual:
            return {}
        return {"embedding": {**usual, "max_length": min(usual["max_length"], positions)}}
    return {
        "embedding": {
            "pooling": _pooling(source_requests.located(source, wish.basedir)),
            "normalize": True,
            "max_length": min(_LONGEST_EMBEDDED_TEXT, positions),
            "sets": list(config["retrieval_sets"]),
        }
    }


def _pooling(source: Mapping[str, Any]) -> str:
    """The pooling of a folder made with sentence-transformers; the mean if it says nothing."""
    if source["from"] == "hub":
        file = hub.cached_config(source).parent / "1_Pooling" / "config.json"
    else:
        file = Path(source.get("path", "")).expanduser() / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    modes = [
        name.removeprefix("pooling_mode_")
        for name, value in json.loads(file.read_text(encoding="utf-8")).items()
        if name.startswith("pooling_mode_") and value is True
    ]
    known = {"mean_tokens": "mean", "lasttoken": "last_token"}
    if len(modes) != 1 or modes[0] not in known:
        raise ConfigError(
            f"config: model: it pools by {' and '.join(modes) or 'nothing'} ({file}), and mean and "
            "last_token are supported. Choose another model, or say under `models` in an overlay "
            "how it is to embed texts."
        )
    return known[modes[0]]


def summary(config: Config) -> str:
    """The model in a sentence: what it is and where its results go.

    Parameters
    ----------
    config : config whose values have been checked, with paths relative to the working directory.
    """
    name = config["default_model"]
    entry = config["models"][name]
    settings = model_plan.settings_of(name, config) or {}
    kind = {"causal": "a language model", "encoder": "an encoder"}[entry.get("kind", "causal")]
    return (
        f"{name} is {kind} ({settings.get('model_type', 'type not known yet')}, "
        f"{model_plan.n_blocks_of(name, config)} blocks), read from "
        f"{sources.describe(entry['source'])} and run in {entry['dtype']}. "
        f"Its page will be {config['pathvars']['results']}/report.html."
    )


def _config_yaml(basedir: Path) -> dict[str, Any]:
    """The experiment without overlays."""
    text = (basedir / "config.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


# ---- variants and figures ------------------------------------------------------------------------


def mistakes(config: Config) -> Iterator[str]:
    """Refuse models under `also` that nothing defines, or that join none."""
    for name in config.get("also", []):
        if name not in config["models"]:
            yield f"also: there is no model {name!r}.{instead(name, config['models'])}"
    for key in ("also", "model_name"):
        if key in config and "model" not in config:
            yield f"{key} is given without `model`. Name the model, or remove {key}."


def fitted(config: Config, basedir: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """Config whose variants and calibration fit the model, as far as config.yaml defines them.

    What an overlay defines or changes stays as it is, and is refused later if it does not fit.

    Parameters
    ----------
    config : config whose values have been checked; its default model is the one that was named.
    basedir : folder of the Snakefile.

    Returns
    -------
    The config, names of variants that the model cannot have, and sentences about all of that.
    """
    located = source_requests.with_paths(dict(config), basedir)
    notes = [summary(located)]
    usual = _config_yaml(basedir)
    try:
        settings = model_plan.settings_of(config["default_model"], located)
    except (ValueError, OSError):
        settings = None  # refused later
    if settings is None:
        return dict(config), [], notes
    variants, reasons = dict(config["variants"]), dict[str, list[str]]()
    left_out = []
    for name, entry in config["variants"].items():
        new, reason = (
            _fitting(entry, settings) if usual["variants"].get(name) == entry else (entry, "")
        )
        if reason:
            reasons.setdefault(reason, []).append(name)
        if new is None:
            left_out.append(name)
        else:
            variants[name] = new
    notes += [f"{reason}: {', '.join(names)}." for reason, names in reasons.items()]
    calibration = dict(config["calibration"])
    positions = model_config.shape_of(settings).positions
    length = calibration["sequence_length"]
    if positions and length > positions and length == usual["calibration"]["sequence_length"]:
        calibration["sequence_length"] = positions
        notes.append(f"Calibration sequences have {positions} tokens, as many as the model reads.")
    return {**config, "variants": variants, "calibration": calibration}, left_out, notes


def _fitting(
    entry: Mapping[str, Any], settings: ModelConfig
) -> tuple[Mapping[str, Any] | None, str]:
    """Settings of a variant that fit the model, None if there are none, and what was changed."""
    if reason := model_plan.weights_out_of_reach(entry, settings):
        return None, f"Left out, because {reason}"
    uneven = model_plan.uneven_inputs(entry, settings)
    if uneven is None:
        return entry, ""
    groups = uneven.largest_below(entry["group_size"]) if "group_size" in entry else 1
    why = f"because {entry[uneven.key]} does not divide the {uneven.size} inputs ({uneven.linear})"
    if groups < _SMALLEST_GROUP:
        return None, f"Left out, {why}"
    return {**entry, "group_size": groups}, f"Groups of {groups} inputs, {why}"


_SMALLEST_GROUP = 8
"""Fewer inputs per scale would take more bits for scales than for weights."""


def shown_alone(config: Config) -> tuple[dict[str, Any], list[str]]:
    """Config whose figures show the model that was named and those under `also`, and no others.

    Parameters
    ----------
    config : config whose values have been checked.

    Returns
    -------
    The config, and names of the figures that none of these models can have.
    """
    models = [config["default_model"], *config.get("also", [])]
    figures = {
        name: _with_models(entry, models, config) for name, entry in config["figures"].items()
    }
    shown = {name: entry for name, entry in figures.items() if entry is not None}
    return {**config, "figures": shown}, [name for name in figures if name not in shown]


def _with_models(
    entry: Mapping[str, Any], models: list[str], config: Config
) -> dict[str, Any] | None:
    """The entry of a figure for these models; None if one of its tables would be empty."""
    own = [table for table, keys in entry["reads"].items() if "model" in keys]
    shared = [table for table in entry["reads"] if table not in own]
    common = [m for m in models if all(_has(config["models"][m], table) for table in shared)]
    reads = dict(entry["reads"])
    for table in own:
        able = [m for m in models if _has(config["models"][m], table)]
        reads[table] = {**reads[table], "model": able}
    if any(not reads[table]["model"] for table in own) or (shared and not common):
        return None
    return {**entry, "reads": reads, "models": common or models}


def _has(model: Mapping[str, Any], table: str) -> bool:
    """Whether there is a table of a model of this kind."""
    if table not in TABLES:
        return True  # refused later
    if TABLES[table].needs_lm_head and model.get("kind", "causal") != "causal":
        return False
    return "embedding" in model or not table.startswith("retrieval_")
