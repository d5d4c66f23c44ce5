"""Read the header of a GGUF file: its settings and the names of its tensors.

The layout is described in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; versions 2 and
3 are supported, both little-endian. The `gguf` package also reads headers, but takes seconds on
large vocabularies. That is too slow here: a few numbers of the header are needed each time
Snakemake plans a run. For the same reason this module does not import torch.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_NUMBER_FORMATS = {
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
_LONGEST_ARRAY = 4096
"""Longer arrays are skipped. A setting has at most one value per block; vocabularies are longer."""

MODEL_TYPES = {"llama": "llama", "mistral": "mistral", "qwen2": "qwen2", "qwen3": "qwen3"}
"""Supported architectures as llama.cpp names them, with the model type in transformers.

Every setting that one of these architectures can have is listed below.
"""

_REQUIRED_SETTINGS = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length"),
    *("attention.head_count", "attention.layer_norm_rms_epsilon"),
)
_KNOWN_SETTINGS = {
    *_REQUIRED_SETTINGS,
    *("attention.head_count_kv", "vocab_size", "rope.freq_base", "attention.sliding_window"),
    *("rope.dimension_count", "attention.key_length", "attention.value_length"),
    *("rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length"),
    *("rope.scaling.finetuned", "tensor_data_layout"),  # neither of these two affects a result
}
_NEUTRAL_VALUES = {
    "attention.causal": True,
    "expert_count": 0,
    "expert_used_count": 0,
    "rope.scale_linear": 1.0,
    "rope.scaling.attn_factor": 1.0,
    "logit_scale": 1.0,
    "residual_scale": 1.0,
    "embedding_scale": 1.0,
}
"""Unsupported settings, each with the one value at which it has no effect and may be ignored."""

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
    """Metadata and tensor names of a GGUF file.

    Attributes
    ----------
    metadata : value of each key; None for an array that is too long to be a setting.
    tensors : shape of each tensor by name, in ggml's order: the fastest-varying dimension first.
    """

    metadata: Mapping[str, Any]
    tensors: Mapping[str, tuple[int, ...]]

    @property
    def architecture(self) -> str:
        """Name of the architecture in llama.cpp."""
        return str(self.metadata.get("general.architecture"))

    def setting(self, key: str, default: Any = None) -> Any:
        """Value of a setting whose key starts with the name of the architecture."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


def read(file: Path) -> Header:
    """Read the header of a file. Raises ValueError if it is not a readable GGUF file."""
    try:
        with file.open("rb") as stream:
            magic, version = stream.read(4), _read_number(stream, "I")
            if magic != b"GGUF" or version not in (2, 3):
                raise ValueError(
                    f"{file} is not a GGUF file of version 2 or 3. Choose another file"
                )
            n_tensors, n_values = _read_number(stream, "Q"), _read_number(stream, "Q")
            metadata = {
                _read_string(stream): _read_value(stream, _read_number(stream, "I"))
                for _ in range(n_values)
            }
            tensors = dict(_read_tensor_entry(stream) for _ in range(n_tensors))
    except (struct.error, KeyError, UnicodeDecodeError):
        raise ValueError(f"{file} is damaged, or was not copied whole. Copy it again") from None
    return Header(metadata, tensors)


def _read_number(stream: BinaryIO, number_format: str) -> Any:
    size = struct.calcsize(f"<{number_format}")
    return struct.unpack(f"<{number_format}", stream.read(size))[0]


def _read_string(stream: BinaryIO) -> str:
    length = _read_number(stream, "Q")
    text = stream.read(length)
    if len(text) != length:
        raise struct.error
    return text.decode("utf-8")


def _read_value(stream: BinaryIO, type_code: int) -> Any:
    if type_code == _STRING:
        return _read_string(stream)
    if type_code != _ARRAY:
        return _read_number(stream, _NUMBER_FORMATS[type_code])
    element_type, length = _read_number(stream, "I"), _read_number(stream, "Q")
    if length <= _LONGEST_ARRAY:
        return [_read_value(stream, element_type) for _ in range(length)]
    if element_type in _NUMBER_FORMATS:
        stream.seek(length * struct.calcsize(f"<{_NUMBER_FORMATS[element_type]}"), 1)
    else:
        for _ in range(length):
            stream.seek(_read_number(stream, "Q"), 1)
    return None


def _read_tensor_entry(stream: BinaryIO) -> tuple[str, tuple[int, ...]]:
    name, n_dimensions = _read_string(stream), _read_number(stream, "I")
    shape = tuple(_read_number(stream, "Q") for _ in range(n_dimensions))
    stream.read(4 + 8)  # type and offset
    return name, shape


def settings_of(header: Header) -> dict[str, Any]:
    """Model type and sizes of the model, under the keys of a config.json.

    Raises ValueError if the architecture is not supported or the file does not hold a whole model.
    """
    architecture = header.architecture
    file_type = header.metadata.get("general.type", "model")
    if file_type != "model" or int(header.metadata.get("split.count", 1)) > 1:
        fault = "one of several parts" if file_type == "model" else f"of type {file_type}"
        raise ValueError(f"the GGUF file is {fault}. Choose a file that holds a whole model")
    if architecture not in MODEL_TYPES:
        raise ValueError(
            f"GGUF files of architecture {architecture!r} cannot be read; the supported "
            f"architectures are {', '.join(MODEL_TYPES)}. Use the model's safetensors checkpoint"
        )
    sizes = {name: header.setting(key) for name, key in _SIZES.items()}
    return {
        "model_type": MODEL_TYPES[architecture],
        **{name: size for name, size in sizes.items() if size is not None},
    }


def unread(header: Header) -> list[str]:
    """Reasons why the file cannot be read correctly: settings that are missing or unsupported."""
    prefix = f"{header.architecture}."
    reasons = [
        f"it lacks the setting {prefix}{key}"
        for key in _REQUIRED_SETTINGS
        if header.setting(key) is None
    ]
    for name, value in header.metadata.items():
        key = name.removeprefix(prefix)
        if not name.startswith(prefix) or _NEUTRAL_VALUES.get(key) == value:
            continue
        if key not in _KNOWN_SETTINGS:
            reasons.append(f"its setting {name} ({value}) is not supported")
        elif isinstance(value, list | None):
            reasons.append(f"its setting {name} differs from block to block")
    return [*reasons, *_unsupported_rotary_settings(header)]


def _unsupported_rotary_settings(header: Header) -> list[str]:
    """Reasons for which the rotary settings cannot be expressed exactly in a config.json."""
    n_heads, hidden = header.setting("attention.head_count"), header.setting("embedding_length")
    if not isinstance(n_heads, int) or not isinstance(hidden, int):
        return []
    head_dim = header.setting("attention.key_length", hidden // n_heads)
    reasons = [
        f"its setting {header.architecture}.{key} is {header.setting(key)}, but the size of a head "
        f"is {head_dim}"
        for key in ("rope.dimension_count", "attention.value_length")
        if header.setting(key, head_dim) != head_dim
    ]
    scaling = header.setting("rope.scaling.type", "none")
    if scaling not in ("none", "linear", "yarn"):
        reasons.append(f"its rotary scaling {scaling!r} is not supported")
    if scaling in ("linear", "yarn") and header.setting("rope.scaling.factor") is None:
        reasons.append(f"its rotary scaling {scaling!r} lacks a factor")
    return reasons
