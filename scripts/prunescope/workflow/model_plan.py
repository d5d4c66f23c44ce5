"""What is asked of a model against what its config.json tells, before the first job.

A model whose config.json is not at hand yet (a wheel, a hub that nothing was fetched from) passes:
`fetch_model` and the methods refuse it later, and the next plan knows.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope.compression import methods, patterns
from prunescope.inputs import gguf_header, model_config, model_folder, sources
from prunescope.inputs.model_config import Settings
from prunescope.progress import JobError

_FROM_CALIBRATION = {"calibration", "influence"}
"""Tables, and what methods read, that calibration sequences are run for."""


def settings_of(model: str, config: Mapping[str, Any]) -> Settings | None:
    """The model's config.json, or what a GGUF file holds instead; None where it is not at hand.

    Raises ValueError if it cannot be read.
    """
    fetched = Path(config["pathvars"]["store"]) / "inputs" / f"model={model}"
    file = sources.config_at_hand(config["models"][model]["source"], fetched)
    if file is None:
        return None
    if file.suffix == ".gguf":
        return gguf_header.settings_of(gguf_header.read(file))
    return model_config.parse(file.read_text(encoding="utf-8"))


def n_blocks_of(model: str, config: Mapping[str, Any]) -> int | None:
    """Number of blocks as the model says, else as config says, else None: not known yet."""
    try:
        settings = settings_of(model, config)
    except (ValueError, OSError):
        settings = None  # told by `refusals`
    told = None if settings is None else model_config.shape_of(settings).n_blocks
    stated: int | None = config["models"][model].get("n_blocks")
    return stated if told is None else told


def refusals(
    model: str, config: Mapping[str, Any], tables: Sequence[str], variants: Sequence[str]
) -> Iterator[str]:
    """Mistakes of one model that is run, each with its key and the way out.

    Parameters
    ----------
    tables, variants : what figures and the export read of this model.
    """
    entry = config["models"][model]
    where = f"models/{model}"
    kind = entry.get("kind", "causal")
    try:
        if entry["source"]["from"] == "path" and Path(entry["source"]["path"]).is_dir():
            files = sources.model_files(entry["source"], Path())
            reasons = list(model_folder.refusals(files, kind))
            yield from (f"{where}/source: {entry['source']['path']}: {each}" for each in reasons)
            if reasons:
                return
        settings = settings_of(model, config)
    except (ValueError, OSError, JobError) as error:
        yield f"{where}/source: {str(error).rstrip('.')}."
        return
    if settings is None:
        return
    if entry["source"]["from"] != "path":
        asked = sources.describe(entry["source"])
        reasons = list(model_config.refusals(settings, kind))
        yield from (f"{where}/source: {asked}: {each}" for each in reasons)
        if reasons:
            return
    yield from _wrong_blocks(where, entry, settings)
    yield from _too_long(model, config, settings, tables, variants)
    for variant in variants:
        yield from _unfit_variant(model, variant, config["variants"][variant], settings)


def _wrong_blocks(where: str, entry: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    n_blocks = model_config.shape_of(settings).n_blocks
    if n_blocks is not None and entry.get("n_blocks", n_blocks) != n_blocks:
        yield (
            f"{where}/n_blocks is {entry['n_blocks']}, but {sources.describe(entry['source'])} has "
            f"{n_blocks} transformer blocks. Set n_blocks: {n_blocks}, or leave it out."
        )


def _too_long(
    model: str,
    config: Mapping[str, Any],
    settings: Settings,
    tables: Sequence[str],
    variants: Sequence[str],
) -> Iterator[str]:
    """Lengths that config asks for and the model has no positions for."""
    positions = model_config.shape_of(settings).positions
    if positions is None:
        return
    read = {each for v in variants for each in methods.reads(config["variants"][v]["method"])}
    lengths = {}
    if _FROM_CALIBRATION & {*tables, *read}:
        lengths["calibration/sequence_length"] = config["calibration"]["sequence_length"]
    if {"retrieval_scores", "retrieval_samples"} & {*tables}:
        embedding = config["models"][model].get("embedding", {})
        lengths[f"models/{model}/embedding/max_length"] = embedding.get("max_length", 0)
    if config["models"][model].get("kind", "causal") == "causal":
        lengths["decoding/max_new_tokens"] = config["decoding"]["max_new_tokens"]
    for key, length in lengths.items():
        if length > positions:
            yield f"{key} is {length}, but {model} has {positions} positions. Choose at most those."


def _unfit_variant(
    model: str, variant: str, entry: Mapping[str, Any], settings: Settings
) -> Iterator[str]:
    """Patterns and groups that do not divide the inputs of the model's linears."""
    divisor, key = entry.get("group_size"), "group_size"
    if "pattern" in entry:
        try:
            divisor, key = patterns.parse(entry["pattern"])[1], "pattern"
        except ValueError:
            return  # told without a model
    if divisor is None:
        return
    inputs = model_config.shape_of(settings).linear_inputs
    uneven = {name: size for name, size in inputs.items() if size % divisor}
    if uneven:
        name, size = next(iter(uneven.items()))
        common = math.gcd(*inputs.values())
        yield (
            f"variants/{variant}/{key} is {entry[key]}, which does not divide the {size} inputs "
            f"({name}) of linears of {model}. Choose one that divides {common}, as all of its "
            "linears' inputs do, or read other variants."
        )
