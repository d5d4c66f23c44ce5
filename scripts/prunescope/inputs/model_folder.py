"""What a folder in the hub's layout holds, as far as names and safetensors headers tell.

No tensor is read: a header is a few kilobytes at the start of a file of gigabytes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from prunescope.inputs import model_config
from prunescope.inputs.model_config import Settings
from prunescope.inputs.sources import SECOND_COPIES

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""The names transformers reads: one file, or the index of several."""

_QUANTIZED_NAMES = (
    *(".qweight", ".qzeros", ".g_idx", ".weight_scale", ".weight_scale_inv", ".weight_packed"),
    *(".weight_zero_point", ".SCB", ".absmax", ".quant_map", ".quant_state", "_blocks", "_scales"),
)
_FLOATS = ("F64", "F32", "F16", "BF16")
_BLOCK = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks)\.(\d+)\.(.+)")

Header = Mapping[str, Mapping[str, Any]]
"""Name of a tensor -> its `dtype`, `shape` and `data_offsets`."""


def weights_read(files: Mapping[str, Path]) -> list[str]:
    """The weight files transformers loads from these files, in order; empty if it finds none.

    Raises ValueError if the index is not readable.
    """
    if WEIGHTS in files:
        return [WEIGHTS]
    return sorted(set(_weight_map(files).values())) if INDEX in files else []


def _weight_map(files: Mapping[str, Path]) -> dict[str, str]:
    try:
        found = json.loads(files[INDEX].read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{INDEX} is not JSON with a `weight_map`. Fetch it again, or save the model again"
        ) from None


def used(files: Mapping[str, Path]) -> dict[str, Path]:
    """The files without known second copies of the weights."""
    return {
        name: file
        for name, file in files.items()
        if not any(fnmatchcase(name, pattern) for pattern in SECOND_COPIES)
    }


def header(file: Path) -> Header:
    """The header of a safetensors file. Raises ValueError if the file is none, or is cut off."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        if start == b"version ":
            raise ValueError(
                f"{file.name} is a pointer of Git LFS, not the weights. Run `git lfs pull` there"
            )
        length = int.from_bytes(start, "little")
        text = opened.read(length) if len(start) == 8 and length <= size else b""
    try:
        found = json.loads(text)
        found.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in found.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{file.name} is not a safetensors file, or damaged") from None
    if size != 8 + length + end:
        raise ValueError(
            f"{file.name} has {size} bytes, but its header describes {8 + length + end}: it is "
            "damaged or was not copied whole. Copy it again"
        )
    return dict(found)


# ---- what cannot be run -----------------------------------------------------------------------


def refusals(files: Mapping[str, Path], kind: str | None = None) -> Iterator[str]:
    """Why these files make no model that can be run, one sentence or two each.

    Parameters
    ----------
    files : by their names in the hub's layout, pickles and other copies among them or not.
    kind : `causal`, `encoder`, or None for what holds of both.
    """
    if "adapter_config.json" in files:
        yield (
            "it is an adapter (adapter_config.json), which changes another model's weights. Merge "
            "it into that model (`merge_and_unload`, then `save_pretrained`) and name the result."
        )
        return
    missing = [name for name in ("config.json", "tokenizer.json") if name not in files]
    try:
        yield from _unread_weights(files)
        settings = _settings(files)
        if settings is not None:
            yield from model_config.refusals(settings, kind)
        if missing:
            yield (
                f"it lacks {' and '.join(missing)}. Use a folder in the hub's layout: config.json, "
                "tokenizer.json and *.safetensors side by side."
            )
        yield from _quantized_elsewhere(files)
        read = weights_read(files)
        if settings is not None and read and set(read) <= set(files):
            yield from _unfit_tensors(files, settings, kind)
    except ValueError as error:
        yield f"{error}."


def _settings(files: Mapping[str, Path]) -> Settings | None:
    file = files.get("config.json")
    return None if file is None else model_config.parse(file.read_text(encoding="utf-8"))


def _unread_weights(files: Mapping[str, Path]) -> Iterator[str]:
    """No weights under a name that is read, or weights beside those that are."""
    weights = [name for name in files if name.endswith(".safetensors")]
    read = weights_read(files)
    if not weights:
        yield (
            "it holds no .safetensors weights. Pickled weights (.bin, .pt) are not loaded: "
            "choose a revision with safetensors, or convert with `save_pretrained`."
        )
    elif not read:
        folder = str(PurePosixPath(min(weights)).parent)
        way = f"Name that folder ({folder})" if folder != "." else f"Rename it to {WEIGHTS}"
        yield (
            f"its weights are in {min(weights)}, where they are not looked for: they must be "
            f"{WEIGHTS}, or shards with {INDEX}. {way}, or save the model again."
        )
    elif missing := sorted(set(read) - set(files)):
        yield (
            f"it lacks {len(missing)} of {len(read)} weight files, for instance {missing[0]}. "
            "Complete the folder and run again."
        )
    second = sorted(set(used(files)) & set(weights) - set(read))
    if read and WEIGHTS in files and INDEX in files:
        shards = sorted(set(_weight_map(files).values()) - {WEIGHTS})
        if shards:
            yield (
                f"it holds two sets of weights, {WEIGHTS} and the shards of {INDEX}, of which only "
                "the first would be read. Remove the one that is not meant."
            )
            return
    if read and second:
        yield (
            f"it holds weights that would not be read, for instance {second[0]} beside {read[0]}. "
            "Move them out of the folder, or choose a checkpoint without them."
        )


def _quantized_elsewhere(files: Mapping[str, Path]) -> Iterator[str]:
    """Quantization that is told in a file of its own."""
    for name in ("quantize_config.json", "quant_config.json", "hf_quant_config.json"):
        if name in files:
            yield (
                f"the weights are quantized already ({name}). Choose the model's unquantized "
                "checkpoint."
            )


def _unfit_tensors(
    files: Mapping[str, Path], settings: Settings, kind: str | None
) -> Iterator[str]:
    """Tensors that are not the model's by their names or dtypes, and those that are not there."""
    names: dict[str, str] = {}
    for file in weights_read(files):
        for name, entry in header(files[file]).items():
            if name in names:
                yield f"tensor {name} is both in {names[name]} and in {file}. Remove one of them."
            names[name] = file
            if name.endswith(_QUANTIZED_NAMES) or (
                name.endswith(".weight") and entry["dtype"] not in _FLOATS
            ):
                yield (
                    f"the weights are quantized already ({name} in {file} has dtype "
                    f"{entry['dtype']}). Choose the model's unquantized checkpoint."
                )
                return
    if WEIGHTS not in files:
        promised = {name for name, file in _weight_map(files).items() if names.get(name) != file}
        if promised:
            yield (
                f"{INDEX} names {len(promised)} tensors that its files do not hold, for instance "
                f"{min(promised)}. The folder mixes two checkpoints: fetch it again."
            )
            return
    yield from _missing_blocks(names, settings)
    if kind != "encoder":
        yield from _missing_lm_head(names, settings)


def _missing_blocks(names: Mapping[str, str], settings: Settings) -> Iterator[str]:
    """Blocks without weights, or more than config.json has, and blocks that lack a tensor."""
    blocks: dict[int, set[str]] = {}
    for name in names:
        found = _BLOCK.search(name)
        if found is not None:
            blocks.setdefault(int(found[1]), set()).add(found[2])
    n_blocks = model_config.shape_of(settings).n_blocks
    if n_blocks is None or not blocks:
        return
    if set(blocks) != set(range(n_blocks)):
        wrong = min(set(blocks) ^ set(range(n_blocks)))
        yield (
            f"config.json has {n_blocks} blocks, but the weights are those of {len(blocks)} "
            f"(block {wrong} is {'missing' if wrong < n_blocks else 'one too many'}). Fetch the "
            "checkpoint again."
        )
        return
    if model_config.has_experts(settings):
        return
    for block, parts in sorted(blocks.items()):
        lacks = set.union(*blocks.values()) - parts
        if lacks:
            yield (
                f"the weights of block {block} lack {min(lacks)}, which other blocks have, and "
                "random numbers would take its place. Fetch the checkpoint again."
            )
            return


def _missing_lm_head(names: Mapping[str, str], settings: Settings) -> Iterator[str]:
    architectures = settings.get("architectures") or [""]
    lm_head = model_config.known_types().get(str(settings.get("model_type")))
    if (
        lm_head is not None
        and str(architectures[0]).endswith("ForCausalLM")
        and settings.get("tie_word_embeddings") is False
        and f"{lm_head}.weight" not in names
    ):
        yield (
            f"config.json says tie_word_embeddings: false, but the weights lack {lm_head}.weight, "
            "and random numbers would take its place. Fetch the checkpoint again, or save the "
            "model with its lm_head."
        )
