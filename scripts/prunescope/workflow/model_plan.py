"""Compare what config requests of a model with the model's config.json, before the first job.

A model whose config.json is not available yet (a wheel, or a hub model of which nothing has been
fetched) is accepted for now: `fetch_model` and the methods check it later, and the next time the
run is planned its config.json is available.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunescope.compression import methods, patterns
from prunescope.inputs import gguf_header, model_config, model_folder, sources
from prunescope.inputs.model_config import ModelConfig
from prunescope.progress import JobError
from prunescope.workflow import source_requests

_NEED_CALIBRATION = {"calibration", "influence"}
"""Tables and inputs of methods for which the model reads the calibration sequences."""


def settings_of(model: str, config: Mapping[str, Any]) -> ModelConfig | None:
    """The model's config.json, or the corresponding settings of a GGUF file.

    None if it is not available without fetching. Raises ValueError if it cannot be read.
    """
    fetched = Path(config["pathvars"]["store"]) / "inputs" / f"model={model}"
    return settings_at(config["models"][model]["source"], fetched)


def settings_at(source: Mapping[str, Any], fetched: Path) -> ModelConfig | None:
    """The settings of a model by its source, as `settings_of` returns them.

    Parameters
    ----------
    source : the source, with a path relative to the working directory.
    fetched : the folder into which `fetch_model` puts the model.
    """
    file = sources.config_at_hand(source, fetched)
    if file is None:
        return None
    if file.suffix == ".gguf":
        return gguf_header.settings_of(gguf_header.read(file))
    return model_config.parse(file.read_text(encoding="utf-8"))


def n_blocks_of(model: str, config: Mapping[str, Any]) -> int | None:
    """Number of blocks by the model's config.json, otherwise by config; None if not known yet."""
    try:
        settings = settings_of(model, config)
    except (ValueError, OSError):
        settings = None  # `refusals` reports the error
    found_in_model = None if settings is None else model_config.shape_of(settings).n_blocks
    from_config: int | None = config["models"][model].get("n_blocks")
    return from_config if found_in_model is None else found_in_model


def depth_of_default(config: Mapping[str, Any], basedir: Path) -> int | None:
    """Number of blocks of the default model; None if it is not known yet, or config is not valid.

    Parameters
    ----------
    config : config as it was merged, before it is checked.
    basedir : folder of the Snakefile.
    """
    try:
        model = config["default_model"]
        entry = config["models"][model]
        source = source_requests.located(entry["source"], basedir)
        models = {model: {**entry, "source": source}}
        n_blocks = n_blocks_of(model, {"pathvars": config["pathvars"], "models": models})
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    is_number = isinstance(n_blocks, int) and not isinstance(n_blocks, bool) and n_blocks > 0
    return n_blocks if is_number else None


def refusals(
    model: str, config: Mapping[str, Any], tables: Sequence[str], variants: Sequence[str]
) -> Iterator[str]:
    """Mistakes in the config of a model, each with its key and how to correct it.

    Parameters
    ----------
    model : name of the model in config.
    config : the whole config.
    tables : names of the tables of this model that figures read.
    variants : names of the variants of this model that figures or the export read.
    """
    entry = config["models"][model]
    key = f"models/{model}"
    kind = entry.get("kind", "causal")
    try:
        if entry["source"]["from"] == "path" and Path(entry["source"]["path"]).is_dir():
            files = sources.model_files(entry["source"], Path())
            reasons = list(model_folder.refusals(files, kind))
            yield from (f"{key}/source: {entry['source']['path']}: {reason}" for reason in reasons)
            if reasons:
                return
        settings = settings_of(model, config)
    except (ValueError, OSError, JobError) as error:
        yield f"{key}/source: {str(error).rstrip('.')}."
        return
    if settings is None:
        return
    if entry["source"]["from"] != "path":
        source_name = sources.describe(entry["source"])
        reasons = list(model_config.refusals(settings, kind))
        yield from (f"{key}/source: {source_name}: {reason}" for reason in reasons)
        if reasons:
            return
    yield from _block_count_refusals(key, entry, settings)
    yield from _length_refusals(model, config, settings, tables, variants)
    for variant in variants:
        yield from _variant_refusals(model, variant, config["variants"][variant], settings)


def _block_count_refusals(
    key: str, entry: Mapping[str, Any], settings: ModelConfig
) -> Iterator[str]:
    n_blocks = model_config.shape_of(settings).n_blocks
    if n_blocks is not None and entry.get("n_blocks", n_blocks) != n_blocks:
        yield (
            f"{key}/n_blocks is {entry['n_blocks']}, but {sources.describe(entry['source'])} has "
            f"{n_blocks} transformer blocks. Set n_blocks: {n_blocks}, or omit the key."
        )


def _length_refusals(
    model: str,
    config: Mapping[str, Any],
    settings: ModelConfig,
    tables: Sequence[str],
    variants: Sequence[str],
) -> Iterator[str]:
    """Refuse lengths in config that exceed the number of positions of the model.

    The parameters are those of `refusals`, and `settings` is the content of config.json.
    """
    positions = model_config.shape_of(settings).positions
    if positions is None:
        return
    method_inputs = {
        needed
        for variant in variants
        for needed in methods.reads(config["variants"][variant]["method"])
    }
    lengths = {}
    if _NEED_CALIBRATION & {*tables, *method_inputs}:
        lengths["calibration/sequence_length"] = config["calibration"]["sequence_length"]
    if {"retrieval_scores", "retrieval_samples", "retrieval_difference"} & {*tables}:
        text_embedding = config["models"][model].get("embedding", {})
        lengths[f"models/{model}/embedding/max_length"] = text_embedding.get("max_length", 0)
    if config["models"][model].get("kind", "causal") == "causal":
        lengths["decoding/max_new_tokens"] = config["decoding"]["max_new_tokens"]
    for key, length in lengths.items():
        if length > positions:
            yield (
                f"{key} is {length}, but {model} has {positions} positions. Choose at most "
                f"{positions}."
            )


def _variant_refusals(
    model: str, variant: str, entry: Mapping[str, Any], settings: ModelConfig
) -> Iterator[str]:
    """Refuse methods, patterns and group sizes that the model's linears do not admit.

    Parameters
    ----------
    model, variant : their names in config.
    entry : the entry of the variant in config.
    settings : the content of the model's config.json.
    """
    if reason := weights_out_of_reach(entry, settings):
        yield (
            f"variants/{variant}: {model}: {reason}. Use a method that drops sublayers or blocks, "
            "or let figures read other variants."
        )
    elif uneven := uneven_inputs(entry, settings):
        yield (
            f"variants/{variant}/{uneven.key} is {entry[uneven.key]}, which does not divide the "
            f"{uneven.size} inputs ({uneven.linear}) of linears of {model}. Choose one that "
            f"divides {uneven.common_divisor}, the greatest common divisor of all input sizes, or "
            "let figures read other variants."
        )


def weights_out_of_reach(entry: Mapping[str, Any], settings: ModelConfig) -> str | None:
    """Why a method cannot change the weights of the model, or None.

    Parameters
    ----------
    entry : the entry of a variant in config.
    settings : the content of the model's config.json.
    """
    if "model" not in methods.reads(entry["method"]):
        return None
    if not model_config.keeps_weights_outside_linears(settings):
        return None
    return f"a {settings['model_type']} keeps weights of its blocks outside of linears"


@dataclass(frozen=True)
class Uneven:
    """A pattern or group size that does not divide the inputs of a linear.

    Attributes
    ----------
    key : `pattern` or `group_size`.
    size, linear : number of inputs that is not divided, and the key of config.json that gives it.
    common_divisor : greatest common divisor of all numbers of inputs.
    """

    key: str
    size: int
    linear: str
    common_divisor: int

    def largest_below(self, most: int) -> int:
        """The largest number up to `most` that divides all numbers of inputs."""
        return max(n for n in range(1, most + 1) if self.common_divisor % n == 0)


def uneven_inputs(entry: Mapping[str, Any], settings: ModelConfig) -> Uneven | None:
    """What a variant's pattern or group size does not divide; None if it fits, or is invalid.

    Parameters
    ----------
    entry : the entry of the variant in config.
    settings : the content of the model's config.json.
    """
    divisor, key = entry.get("group_size"), "group_size"
    if "pattern" in entry:
        try:
            divisor, key = patterns.parse(entry["pattern"])[1], "pattern"
        except ValueError:
            return None  # an invalid pattern is reported elsewhere, without a model
    if divisor is None:
        return None
    inputs = model_config.shape_of(settings).linear_inputs
    for name, size in inputs.items():
        if size % divisor:
            return Uneven(key, size, name, math.gcd(*inputs.values()))
    return None
