"""Check a model folder in the hub's layout by its file names and safetensors headers.

No tensor is read: a header is a few kilobytes at the start of a file of gigabytes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from prunescope.inputs import model_config
from prunescope.inputs.model_config import ModelConfig
from prunescope.inputs.sources import SECOND_COPIES

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""The names that transformers looks for: a single weight file, or the index of several shards."""

_QUANTIZED_SUFFIXES = (
    *(".qweight", ".qzeros", ".g_idx", ".weight_scale", ".weight_scale_inv", ".weight_packed"),
    *(".weight_zero_point", ".SCB", ".absmax", ".quant_map", ".quant_state", "_blocks", "_scales"),
)
_FLOATS = ("F64", "F32", "F16", "BF16")
_BLOCK = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks)\.(\d+)\.(.+)")

Header = Mapping[str, Mapping[str, Any]]
"""For each tensor name, its `dtype`, `shape` and `data_offsets`."""


def weights_read(files: Mapping[str, Path]) -> list[str]:
    """Names of the weight files that transformers would load, sorted; empty if it finds none.

    Raises ValueError if the index cannot be read.
    """
    if WEIGHTS in files:
        return [WEIGHTS]
    return sorted(set(_weight_map(files).values())) if INDEX in files else []


def _weight_map(files: Mapping[str, Path]) -> dict[str, str]:
    try:
        weight_map = json.loads(files[INDEX].read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{INDEX} is not a JSON file with a `weight_map`. Fetch it again, or save the model "
            "again"
        ) from None


def used(files: Mapping[str, Path]) -> dict[str, Path]:
    """The files without those known to be second copies of the weights."""
    return {
        name: file
        for name, file in files.items()
        if not any(fnmatchcase(name, pattern) for pattern in SECOND_COPIES)
    }


def header(file: Path) -> Header:
    """Read the header of a safetensors file.

    Raises ValueError if the file is not a safetensors file or is truncated.
    """
    n_bytes = file.stat().st_size
    with file.open("rb") as stream:
        length_bytes = stream.read(8)
        if length_bytes == b"version ":
            raise ValueError(
                f"{file.name} is a Git LFS pointer, not the weights. Run `git lfs pull` in its "
                "folder"
            )
        length = int.from_bytes(length_bytes, "little")
        json_bytes = stream.read(length) if len(length_bytes) == 8 and length <= n_bytes else b""
    try:
        entries = json.loads(json_bytes)
        entries.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{file.name} is not a safetensors file, or it is damaged") from None
    if n_bytes != 8 + length + end:
        raise ValueError(
            f"{file.name} has {n_bytes} bytes, but its header describes {8 + length + end}: it is "
            "damaged or was not copied whole. Copy it again"
        )
    return dict(entries)


# ---- refusals ---------------------------------------------------------------------------------


def refusals(files: Mapping[str, Path], kind: str | None = None) -> Iterator[str]:
    """Reasons why these files are not a model that can be run, in one or two sentences each.

    Parameters
    ----------
    files : path of each file by its name in the hub's layout; pickles and second copies of the
        weights may be included.
    kind : `causal` or `encoder`; None checks only what applies to both.
    """
    if "adapter_config.json" in files:
        yield (
            "it is an adapter (adapter_config.json), which modifies the weights of another model. "
            "Merge it into that model (`merge_and_unload`, then `save_pretrained`) and name the "
            "resulting folder."
        )
        return
    missing = [name for name in ("config.json", "tokenizer.json") if name not in files]
    yield from _damaged_settings(files)
    try:
        yield from _weight_file_refusals(files)
        settings = _settings(files)
        if settings is not None:
            yield from model_config.refusals(settings, kind)
        if missing:
            yield (
                f"it lacks {' and '.join(missing)}. Use a folder in the hub's layout: config.json, "
                "tokenizer.json and *.safetensors side by side."
            )
        yield from _quantization_file_refusals(files)
        weight_files = weights_read(files)
        if settings is not None and weight_files and set(weight_files) <= set(files):
            yield from _tensor_refusals(files, settings, kind)
    except ValueError as error:
        yield f"{error}."


_SETTINGS_FILES = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
"""Files that need not be there, but are ignored by transformers, or stop it, if damaged."""


def _damaged_settings(files: Mapping[str, Path]) -> Iterator[str]:
    """Refuse files of settings that hold no JSON object; ends of text could be lost with them."""
    for name in sorted(set(_SETTINGS_FILES) & set(files)):
        try:
            content = json.loads(files[name].read_text(encoding="utf-8"))
        except ValueError:
            content = None
        if not isinstance(content, dict):
            yield f"{name} is damaged: it is no JSON object. Fetch it again, or remove it."


def _settings(files: Mapping[str, Path]) -> ModelConfig | None:
    file = files.get("config.json")
    return None if file is None else model_config.parse(file.read_text(encoding="utf-8"))


def _weight_file_refusals(files: Mapping[str, Path]) -> Iterator[str]:
    """Refuse weights under names that transformers does not look for, and weights it would skip."""
    weights = [name for name in files if name.endswith(".safetensors")]
    weight_files = weights_read(files)
    if not weights:
        yield (
            "it holds no .safetensors weights. Pickled weights (.bin, .pt) are not loaded: choose "
            "a revision with safetensors, or convert the model with `save_pretrained`."
        )
    elif not weight_files:
        folder = str(PurePosixPath(min(weights)).parent)
        remedy = f"Name that folder ({folder})" if folder != "." else f"Rename it to {WEIGHTS}"
        yield (
            f"its weights are in {min(weights)}, a name under which they would not be found: they "
            f"must be {WEIGHTS}, or shards with {INDEX}. {remedy}, or save the model again."
        )
    elif missing := sorted(set(weight_files) - set(files)):
        yield (
            f"it lacks {len(missing)} of {len(weight_files)} weight files, for instance "
            f"{missing[0]}. Complete the folder and run again."
        )
    unread = sorted(set(used(files)) & set(weights) - set(weight_files))
    if weight_files and WEIGHTS in files and INDEX in files:
        shards = sorted(set(_weight_map(files).values()) - {WEIGHTS})
        if shards:
            yield (
                f"it holds two sets of weights, {WEIGHTS} and the shards of {INDEX}, and only the "
                "first would be read. Remove the set that you do not want."
            )
            return
    if weight_files and unread:
        yield (
            f"it holds weights that would not be read, for instance {unread[0]} beside "
            f"{weight_files[0]}. Move them out of the folder, or choose a checkpoint without them."
        )


def _quantization_file_refusals(files: Mapping[str, Path]) -> Iterator[str]:
    """Refuse quantized weights whose quantization is described in a separate file."""
    for name in ("quantize_config.json", "quant_config.json", "hf_quant_config.json"):
        if name in files:
            yield (
                f"the weights are quantized already ({name}). Choose the model's unquantized "
                "checkpoint."
            )


def _tensor_refusals(
    files: Mapping[str, Path], settings: ModelConfig, kind: str | None
) -> Iterator[str]:
    """Refuse tensors with unexpected names or dtypes, and checkpoints that lack tensors."""
    names: dict[str, str] = {}
    for file in weights_read(files):
        for name, entry in header(files[file]).items():
            if name in names:
                yield f"tensor {name} is both in {names[name]} and in {file}. Remove one of them."
            names[name] = file
            if name.endswith(_QUANTIZED_SUFFIXES) or (
                name.endswith(".weight") and entry["dtype"] not in _FLOATS
            ):
                yield (
                    f"the weights are quantized already ({name} in {file} has dtype "
                    f"{entry['dtype']}). Choose the model's unquantized checkpoint."
                )
                return
    if WEIGHTS not in files:
        missing = {name for name, file in _weight_map(files).items() if names.get(name) != file}
        if missing:
            yield (
                f"{INDEX} names {len(missing)} tensors that its files do not hold, for instance "
                f"{min(missing)}. The folder mixes two checkpoints: fetch it again."
            )
            return
    yield from _block_refusals(names, settings)
    if kind != "encoder":
        yield from _lm_head_refusals(names, settings)


def _block_refusals(names: Mapping[str, str], settings: ModelConfig) -> Iterator[str]:
    """Refuse blocks without weights, surplus blocks, and blocks that lack a tensor."""
    blocks: dict[int, set[str]] = {}
    for name in names:
        match = _BLOCK.search(name)
        if match is not None:
            blocks.setdefault(int(match[1]), set()).add(match[2])
    n_blocks = model_config.shape_of(settings).n_blocks
    if n_blocks is None or not blocks:
        return
    if set(blocks) != set(range(n_blocks)):
        wrong_block = min(set(blocks) ^ set(range(n_blocks)))
        yield (
            f"config.json has {n_blocks} blocks, but the weights are those of {len(blocks)} "
            f"(block {wrong_block} is {'missing' if wrong_block < n_blocks else 'one too many'}). "
            "Fetch the checkpoint again."
        )
        return
    if model_config.has_experts(settings):
        return
    for block, tensor_names in sorted(blocks.items()):
        missing = set.union(*blocks.values()) - tensor_names
        if missing:
            yield (
                f"the weights of block {block} lack {min(missing)}, which other blocks have; it "
                "would be initialised at random. Fetch the checkpoint again."
            )
            return


def _lm_head_refusals(names: Mapping[str, str], settings: ModelConfig) -> Iterator[str]:
    architectures = settings.get("architectures") or [""]
    lm_head = model_config.known_types().get(str(settings.get("model_type")))
    if (
        lm_head is not None
        and str(architectures[0]).endswith("ForCausalLM")
        and settings.get("tie_word_embeddings") is False
        and f"{lm_head}.weight" not in names
    ):
        yield (
            f"config.json says tie_word_embeddings: false, but the weights lack {lm_head}.weight; "
            "it would be initialised at random. Fetch the checkpoint again, or save the model "
            "with its lm_head."
        )
