"""Compare what config requests of a model with the model's config.json, before the first job.

A model whose config.json is not available yet (a wheel, or a hub model of which nothing has been
fetched) is accepted for now: `fetch_model` and the methods check it later, and the next time the
run is planned its config.json is available.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope.compression import methods, patterns
from prunescope.inputs import gguf_header, model_config, model_folder, sources
from prunescope.inputs.model_config import ModelConfig
from prunescope.progress import JobError

_NEED_CALIBRATION = {"calibration", "influence"}
"""Tables and inputs of methods for which the model reads the calibration sequences."""


def settings_of(model: str, config: Mapping[str, Any]) -> ModelConfig | None:
    """The model's config.json, or the corresponding settings of a GGUF file.

    None if it is not available without fetching. Raises ValueError if it cannot be read.
    """
    fetched = Path(config["pathvars"]["store"]) / "inputs" / f"model={model}"
    file = sources.config_at_hand(config["models"][model]["source"], fetched)
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
    if {"retrieval_scores", "retrieval_samples"} & {*tables}:
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
    """Refuse patterns and group sizes that do not divide the input sizes of the model's linears.

    Parameters
    ----------
    model, variant : their names in config.
    entry : the entry of the variant in config.
    settings : the content of the model's config.json.
    """
    divisor, key = entry.get("group_size"), "group_size"
    if "pattern" in entry:
        try:
            divisor, key = patterns.parse(entry["pattern"])[1], "pattern"
        except ValueError:
            return  # an invalid pattern is reported elsewhere, without a model
    if divisor is None:
        return
    inputs = model_config.shape_of(settings).linear_inputs
    uneven = {name: size for name, size in inputs.items() if size % divisor}
    if uneven:
        name, size = next(iter(uneven.items()))
        common_divisor = math.gcd(*inputs.values())
        yield (
            f"variants/{variant}/{key} is {entry[key]}, which does not divide the {size} inputs "
            f"({name}) of linears of {model}. Choose one that divides {common_divisor}, the "
            "greatest common divisor of all input sizes, or let figures read other variants."
        )
