"""A quantized GGUF file, dequantized once into the folder any other code reads: safetensors."""

import contextlib
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from safetensors.torch import save_file
from tokenizers import normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
from transformers.modeling_gguf_pytorch_utils import (
    TENSOR_PROCESSORS,
    TensorProcessor,
    get_gguf_hf_weights_map,
    load_gguf_checkpoint,
)

from prunescope.inputs import gguf_header
from prunescope.inputs.gguf_header import Header
from prunescope.progress import LOG, JobError
from prunescope.storage import store

WITHOUT_SPLIT = ("smollm", "starcoder", "refact", "command-r", "codeshell")
"""Vocabularies, as llama.cpp names them, that split every digit off before anything else.

transformers builds these as GPT-2's, which differs wherever white space meets a digit: a blank line
and `1.` would start with two tokens the model has hardly ever seen instead of one.
"""


COMPOSED = ("qwen2", "deepseek-r1-qwen")
"""Vocabularies whose tokenizer composes accents first (NFC), which a GGUF file does not say."""

BEGINS = ("llama3", "llama-v3", "llama-bpe", "falcon3", "tekken")
"""Vocabularies that llama.cpp begins texts of unless the file says otherwise."""

ROPE_FACTORS = "rope_freqs.weight"
"""What llama.cpp divides each rotary frequency by: Llama 3's scaling, its parameters left out."""


def dequantize(gguf_file: Path, folder: Path) -> None:
    """Write config, generation config, float32 weights and tokenizer of a GGUF file to `folder`.

    The weights go past `from_pretrained`, which would ask for accelerate and leave a quantization
    config that `save_pretrained` refuses. transformers reads what it knows of the file and passes
    over the rest: what is not read is refused here by name, tensors and settings alike.

    Raises JobError if a tensor or a setting of the file has no place in the model.
    """
    try:
        header = gguf_header.read(gguf_file)
        gguf_header.settings_of(header)
    except ValueError as error:
        raise JobError(f"{gguf_file}: {error}.") from None
    _refuse(gguf_file, [*gguf_header.unread(header), *_unread_text(header)])
    config = AutoConfig.from_pretrained(
        gguf_file.parent, gguf_file=gguf_file.name, trust_remote_code=False
    )
    _complete(config, header, gguf_file)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    config.architectures = [type(empty).__name__]
    config.dtype = torch.float32
    config.save_pretrained(folder)
    _generation_config(config).save_pretrained(folder)
    _save_weights(gguf_file, header, empty, folder)
    _tokenizer(gguf_file, header).save_pretrained(folder)


def _refuse(gguf_file: Path, reasons: Sequence[str]) -> None:
    if reasons:
        raise JobError(
            f"{gguf_file}: {reasons[0]}, so the numbers would be another model's. Use the model's "
            "safetensors checkpoint."
        )


def _complete(config: Any, header: Header, gguf_file: Path) -> None:
    """Put into the config what the file says and transformers leaves at its own defaults."""
    n_heads, hidden = header.own("attention.head_count"), header.own("embedding_length")
    config.num_key_value_heads = header.own("attention.head_count_kv", n_heads)
    head_dim = header.own("attention.key_length", hidden // n_heads)
    if getattr(config, "head_dim", None) is not None or head_dim != hidden // n_heads:
        config.head_dim = head_dim
    window = header.own("attention.sliding_window", 0)
    if config.model_type == "mistral":
        config.sliding_window = window or None
    elif 0 < window < header.own("context_length"):
        _refuse(gguf_file, [f"its attention.sliding_window ({window}) is not read"])
    config.rope_parameters = {
        "rope_theta": header.own("rope.freq_base", 10000.0),
        **_rope_scaling(header, head_dim, gguf_file),
    }


def _rope_scaling(header: Header, head_dim: int, gguf_file: Path) -> dict[str, Any]:
    """The rotary scaling as transformers' config says it."""
    kind = header.own("rope.scaling.type", "none")
    scaling: dict[str, Any] = {"rope_type": "default" if kind == "none" else kind}
    if kind != "none":
        scaling["factor"] = float(header.own("rope.scaling.factor"))
    if kind == "yarn":
        original = header.own("rope.scaling.original_context_length", header.own("context_length"))
        scaling["original_max_position_embeddings"] = original
    if ROPE_FACTORS not in header.tensors:
        return scaling
    (tensor,) = (each for each in GGUFReader(gguf_file).tensors if each.name == ROPE_FACTORS)
    factors = torch.tensor(tensor.data).double().flatten()
    if bool((factors == 1).all()):
        return scaling
    theta = header.own("rope.freq_base", 10000.0)
    found = llama3_scaling(factors, theta, head_dim) if kind == "none" else None
    if found is None:
        _refuse(gguf_file, [f"its rotary factors ({ROPE_FACTORS}) are not Llama 3's scaling"])
    return found or scaling


def llama3_scaling(factors: Tensor, theta: float, head_dim: int) -> dict[str, Any] | None:
    """Parameters of Llama 3's rotary scaling that give these factors; None if none do.

    The file holds f_i = (unscaled frequency)_i / (scaled frequency)_i in float32. The factor is the
    largest of them; the original number of positions is a power of two, and the low and high
    frequency factors are 1 and 4, in every release that scales so.

    Parameters
    ----------
    factors : (head_dim / 2,) float64.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
    wavelengths = 2 * math.pi * theta**exponents
    factor = float(factors.max())
    for original in (2**power for power in range(3, 24)):
        smooth = ((original / wavelengths - 1) / 3).clamp(0, 1)
        expected = 1 / ((1 - smooth) / factor + smooth)
        if torch.allclose(expected, factors, rtol=1e-5, atol=0):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": original,
            }
    return None


def _generation_config(config: Any) -> GenerationConfig:
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )


def _save_weights(gguf_file: Path, header: Header, empty: Any, folder: Path) -> None:
    """Save every tensor of the file; raise JobError unless they make the whole model."""
    places = get_gguf_hf_weights_map(empty, _processor(header, empty.config))
    unused = sorted(set(header.tensors) - set(places) - {ROPE_FACTORS})
    _refuse(gguf_file, [f"nothing in the model reads its tensor {name}" for name in unused])
    with _bars_on_terminals_only():
        tensors = load_gguf_checkpoint(str(gguf_file), return_tensors=True, model_to_load=empty)
    weights = {name: tensor.float() for name, tensor in tensors["tensors"].items()}
    parameters = empty.state_dict()
    tied = set(empty.all_tied_weights_keys)
    missing = sorted(set(parameters) - set(weights) - tied)
    _refuse(gguf_file, [f"it lacks tensors, for instance {name}" for name in missing])
    _refuse(
        gguf_file,
        [
            f"its {name} is {tuple(weight.shape)}, not {tuple(parameters[name].shape)} as its "
            "settings say"
            for name, weight in weights.items()
            if weight.shape != parameters[name].shape
        ],
    )
    LOG.info("%d tensors dequantized to float32", len(weights))
    file = folder / "model.safetensors"
    save_file(weights, file, metadata={"format": "pt"})
    store.set_usual_mode(file)


def _processor(header: Header, config: Any) -> Any:
    kind: Any = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)
    return kind(config=config.to_dict())


def _bars_on_terminals_only() -> contextlib.AbstractContextManager[Any]:
    if sys.stderr.isatty():
        return contextlib.nullcontext()
    return contextlib.redirect_stderr(io.StringIO())


def _unread_text(header: Header) -> list[str]:
    """Why the file's tokenizer would read text in another way than the model was trained on."""
    kind, pre = (header.metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    reasons = []
    if kind not in ("gpt2", "llama"):
        reasons.append(f"its tokenizer of kind {kind!r} is not read")
    elif kind == "gpt2" and pre not in (*GGUF_PRE_TOKENIZER_SPLITS, *WITHOUT_SPLIT, "gpt-2"):
        reasons.append(f"how its tokenizer splits text (tokenizer.ggml.pre {pre!r}) is not known")
    if header.metadata.get("tokenizer.ggml.add_eos_token"):
        reasons.append("its tokenizer ends every text with an end of text")
    return reasons


def _tokenizer(gguf_file: Path, header: Header) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(
        gguf_file.parent, gguf_file=gguf_file.name, trust_remote_code=False
    )
    pre = header.metadata.get("tokenizer.ggml.pre")
    backend = tokenizer.backend_tokenizer
    if pre in WITHOUT_SPLIT:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    if pre in COMPOSED and backend.normalizer is None:
        backend.normalizer = normalizers.NFC()
    _set_begin(tokenizer, header)
    return tokenizer


def _set_begin(tokenizer: Any, header: Header) -> None:
    """Texts start with the begin-of-text token where the file, or llama.cpp by default, says so."""
    pre = header.metadata.get("tokenizer.ggml.pre")
    usual = header.metadata.get("tokenizer.ggml.model") == "llama" or pre in BEGINS
    wanted = bool(header.metadata.get("tokenizer.ggml.add_bos_token", usual))
    begin = tokenizer.bos_token_id
    if begin is None or (tokenizer("a")["input_ids"][:1] == [begin]) == wanted:
        return
    name = tokenizer.bos_token
    tokenizer.add_bos_token = wanted
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{name} $A" if wanted else "$A",
        pair=f"{name} $A {name} $B" if wanted else "$A $B",
        special_tokens=[(name, begin)],
    )
