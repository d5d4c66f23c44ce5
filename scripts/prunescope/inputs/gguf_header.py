"""The header of a GGUF file: its settings and the names of its tensors. Imports no torch.

The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3,
little-endian. The `gguf` package reads the same and more, in seconds for large vocabularies: a plan
asks for a few numbers each time Snakemake starts.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_FORMATS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_KEPT = 4096
"""Longest array that is kept: one value per block, never a vocabulary."""

MODEL_TYPES = {"llama": "llama", "mistral": "mistral", "qwen2": "qwen2", "qwen3": "qwen3"}
"""Architectures whose every setting is known here, with transformers' name of the model type."""

_NEEDED = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length"),
    *("attention.head_count", "attention.layer_norm_rms_epsilon"),
)
_READ = {
    *_NEEDED,
    *("attention.head_count_kv", "vocab_size", "rope.freq_base", "attention.sliding_window"),
    *("rope.dimension_count", "attention.key_length", "attention.value_length"),
    *("rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length"),
    *("rope.scaling.finetuned", "tensor_data_layout"),  # these two decide nothing
}
_WITHOUT_EFFECT = {
    "attention.causal": True,
    "expert_count": 0,
    "expert_used_count": 0,
    "rope.scale_linear": 1.0,
    "rope.scaling.attn_factor": 1.0,
    "logit_scale": 1.0,
    "residual_scale": 1.0,
    "embedding_scale": 1.0,
}
"""Settings that are not read, by the value that makes no difference."""

_SIZES = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
}


@dataclass(frozen=True)
class Header:
    """What a GGUF file says about itself.

    `metadata` holds None for arrays too long to be settings. `tensors` are names with shapes, in
    ggml's order of dimensions, the fastest first.
    """

    metadata: Mapping[str, Any]
    tensors: Mapping[str, tuple[int, ...]]

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture."""
        return str(self.metadata.get("general.architecture"))

    def own(self, key: str, default: Any = None) -> Any:
        """A setting of the architecture."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


def read(file: Path) -> Header:
    """The header. Raises ValueError if the file is no GGUF file that can be read."""
    try:
        with file.open("rb") as opened:
            magic, version = opened.read(4), _number(opened, "I")
            if magic != b"GGUF" or version not in (2, 3):
                raise ValueError(f"{file} is no GGUF file of version 2 or 3. Choose another file")
            n_tensors, n_values = _number(opened, "Q"), _number(opened, "Q")
            metadata = {
                _string(opened): _value(opened, _number(opened, "I")) for _ in range(n_values)
            }
            tensors = dict(_tensor(opened) for _ in range(n_tensors))
    except (struct.error, KeyError, UnicodeDecodeError):
        raise ValueError(f"{file} is damaged, or was not copied whole. Copy it again") from None
    return Header(metadata, tensors)


def _number(opened: BinaryIO, kind: str) -> Any:
    size = struct.calcsize(f"<{kind}")
    return struct.unpack(f"<{kind}", opened.read(size))[0]


def _string(opened: BinaryIO) -> str:
    length = _number(opened, "Q")
    text = opened.read(length)
    if len(text) != length:
        raise struct.error
    return text.decode("utf-8")


def _value(opened: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(opened)
    if kind != _ARRAY:
        return _number(opened, _FORMATS[kind])
    of, length = _number(opened, "I"), _number(opened, "Q")
    if length <= _KEPT:
        return [_value(opened, of) for _ in range(length)]
    if of in _FORMATS:
        opened.seek(length * struct.calcsize(f"<{_FORMATS[of]}"), 1)
    else:
        for _ in range(length):
            opened.seek(_number(opened, "Q"), 1)
    return None


def _tensor(opened: BinaryIO) -> tuple[str, tuple[int, ...]]:
    name, n_dimensions = _string(opened), _number(opened, "I")
    shape = tuple(_number(opened, "Q") for _ in range(n_dimensions))
    opened.read(4 + 8)  # type and offset
    return name, shape


def settings_of(header: Header) -> dict[str, Any]:
    """Sizes and type as a config.json says them.

    Raises ValueError for an architecture that is not read, and for other than a model's file.
    """
    architecture = header.architecture
    kind = header.metadata.get("general.type", "model")
    if kind != "model" or int(header.metadata.get("split.count", 1)) > 1:
        raise ValueError(
            f"the GGUF file is {'one of several parts' if kind == 'model' else f'of type {kind}'}. "
            "Choose a file that holds a whole model"
        )
    if architecture not in MODEL_TYPES:
        raise ValueError(
            f"GGUF files of architecture {architecture!r} are not read; read are "
            f"{', '.join(MODEL_TYPES)}. Use the model's safetensors checkpoint"
        )
    sizes = {name: header.own(key) for name, key in _SIZES.items()}
    return {
        "model_type": MODEL_TYPES[architecture],
        **{name: size for name, size in sizes.items() if size is not None},
    }


def unread(header: Header) -> list[str]:
    """Why the file cannot be read as it is meant: settings that nothing here takes, or lacks."""
    prefix = f"{header.architecture}."
    reasons = [f"it lacks the setting {prefix}{key}" for key in _NEEDED if header.own(key) is None]
    for name, value in header.metadata.items():
        key = name.removeprefix(prefix)
        if not name.startswith(prefix) or _WITHOUT_EFFECT.get(key) == value:
            continue
        if key not in _READ:
            reasons.append(f"its setting {name} ({value}) is not read")
        elif isinstance(value, list | None):
            reasons.append(f"its setting {name} differs from block to block")
    return [*reasons, *_unread_rotary(header)]


def _unread_rotary(header: Header) -> list[str]:
    """Rotary settings other than those that a config.json can hold exactly."""
    n_heads, hidden = header.own("attention.head_count"), header.own("embedding_length")
    if not isinstance(n_heads, int) or not isinstance(hidden, int):
        return []
    head_dim = header.own("attention.key_length", hidden // n_heads)
    reasons = [
        f"its setting {header.architecture}.{key} is {header.own(key)}, but a head has {head_dim}"
        for key in ("rope.dimension_count", "attention.value_length")
        if header.own(key, head_dim) != head_dim
    ]
    scaling = header.own("rope.scaling.type", "none")
    if scaling not in ("none", "linear", "yarn"):
        reasons.append(f"its rotary scaling {scaling!r} is not read")
    if scaling in ("linear", "yarn") and header.own("rope.scaling.factor") is None:
        reasons.append(f"its rotary scaling {scaling!r} lacks a factor")
    return reasons
