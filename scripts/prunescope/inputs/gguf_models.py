"""Convert a quantized GGUF file once into an ordinary model folder with float32 safetensors."""

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
"""Vocabularies, by their names in llama.cpp, whose tokenizer first splits off every single digit.

transformers builds these tokenizers like that of GPT-2, which differs wherever white space precedes
a digit: a blank line followed by `1.` would start with two tokens that the model has hardly ever
seen, instead of one.
"""

COMPOSED = ("qwen2", "deepseek-r1-qwen")
"""Vocabularies whose tokenizer first composes accents (NFC). A GGUF file does not record this."""

BEGINS = ("llama3", "llama-v3", "llama-bpe", "falcon3", "tekken")
"""Vocabularies for which llama.cpp adds a begin-of-text token unless the file says otherwise."""

ROPE_FACTORS = "rope_freqs.weight"
"""The tensor by which llama.cpp divides the rotary frequencies.

It expresses Llama 3's rotary scaling by its result: the parameters of the scaling are not stored.
"""


def dequantize(gguf_file: Path, folder: Path) -> None:
    """Write config, generation config, float32 weights and tokenizer of a GGUF file to `folder`.

    The weights are not loaded with `from_pretrained`, which would require accelerate and leave a
    quantization config that `save_pretrained` refuses. transformers silently ignores the parts of
    a GGUF file that it does not know. This function refuses such a file instead, and names the
    tensor or the setting.

    Raises JobError if a tensor or a setting of the file is not used by the model.
    """
    try:
        header = gguf_header.read(gguf_file)
        gguf_header.settings_of(header)
    except ValueError as error:
        raise JobError(f"{gguf_file}: {error}.") from None
    _raise_first_reason(
        gguf_file, [*gguf_header.unread(header), *_unsupported_tokenizer_settings(header)]
    )
    config = AutoConfig.from_pretrained(
        gguf_file.parent, gguf_file=gguf_file.name, trust_remote_code=False
    )
    _complete_config(config, header, gguf_file)
    with torch.device("meta"):
        meta_model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    config.architectures = [type(meta_model).__name__]
    config.dtype = torch.float32
    config.save_pretrained(folder)
    _make_generation_config(config).save_pretrained(folder)
    _save_weights(gguf_file, header, meta_model, folder)
    _load_tokenizer(gguf_file, header).save_pretrained(folder)


def _raise_first_reason(gguf_file: Path, reasons: Sequence[str]) -> None:
    if reasons:
        raise JobError(
            f"{gguf_file}: {reasons[0]}, so the results would be those of a different model. Use "
            "the model's safetensors checkpoint."
        )


def _complete_config(config: Any, header: Header, gguf_file: Path) -> None:
    """Set what the file specifies but transformers leaves at its defaults in the config."""
    n_heads, hidden = header.setting("attention.head_count"), header.setting("embedding_length")
    config.num_key_value_heads = header.setting("attention.head_count_kv", n_heads)
    head_dim = header.setting("attention.key_length", hidden // n_heads)
    if getattr(config, "head_dim", None) is not None or head_dim != hidden // n_heads:
        config.head_dim = head_dim
    window = header.setting("attention.sliding_window", 0)
    if config.model_type == "mistral":
        config.sliding_window = window or None
    elif 0 < window < header.setting("context_length"):
        _raise_first_reason(
            gguf_file, [f"its attention.sliding_window ({window}) is not supported"]
        )
    config.rope_parameters = {
        "rope_theta": header.setting("rope.freq_base", 10000.0),
        **_rope_scaling(header, head_dim, gguf_file),
    }


def _rope_scaling(header: Header, head_dim: int, gguf_file: Path) -> dict[str, Any]:
    """The rotary scaling of the file under the keys of transformers' config."""
    scaling_type = header.setting("rope.scaling.type", "none")
    scaling: dict[str, Any] = {"rope_type": "default" if scaling_type == "none" else scaling_type}
    if scaling_type != "none":
        scaling["factor"] = float(header.setting("rope.scaling.factor"))
    if scaling_type == "yarn":
        original = header.setting(
            "rope.scaling.original_context_length", header.setting("context_length")
        )
        scaling["original_max_position_embeddings"] = original
    if ROPE_FACTORS not in header.tensors:
        return scaling
    (tensor,) = (entry for entry in GGUFReader(gguf_file).tensors if entry.name == ROPE_FACTORS)
    factors = torch.tensor(tensor.data).double().flatten()
    if bool((factors == 1).all()):
        return scaling
    theta = header.setting("rope.freq_base", 10000.0)
    llama3 = llama3_scaling(factors, theta, head_dim) if scaling_type == "none" else None
    if llama3 is None:
        _raise_first_reason(
            gguf_file, [f"its rotary factors ({ROPE_FACTORS}) are not Llama 3's scaling"]
        )
    return llama3 or scaling


def llama3_scaling(factors: Tensor, theta: float, head_dim: int) -> dict[str, Any] | None:
    """Recover the parameters of Llama 3's rotary scaling from its factors; None if none fit.

    The file holds f_i = (unscaled frequency)_i / (scaled frequency)_i in float32. The scaling
    factor is the largest f_i. Every release that uses this scaling has low and high frequency
    factors of 1 and 4 and an original number of positions that is a power of two, so that the
    powers of two are tried in turn.

    Parameters
    ----------
    factors : (head_dim / 2,) float64, the factors f_i.
    theta : base of the rotary frequencies; frequency i is theta ** (-2i / head_dim).
    head_dim : size of an attention head.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
    wavelengths = 2 * math.pi * theta**exponents
    factor = float(factors.max())
    for original_length in (2**power for power in range(3, 24)):
        smooth = ((original_length / wavelengths - 1) / 3).clamp(0, 1)
        expected = 1 / ((1 - smooth) / factor + smooth)
        if torch.allclose(expected, factors, rtol=1e-5, atol=0):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": original_length,
            }
    return None


def _make_generation_config(config: Any) -> GenerationConfig:
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )


def _save_weights(gguf_file: Path, header: Header, meta_model: Any, folder: Path) -> None:
    """Save every tensor of the file; raise JobError unless the tensors make up the whole model."""
    model_names = get_gguf_hf_weights_map(meta_model, _tensor_processor(header, meta_model.config))
    unused = sorted(set(header.tensors) - set(model_names) - {ROPE_FACTORS})
    _raise_first_reason(gguf_file, [f"the model does not use its tensor {name}" for name in unused])
    with _hide_bars_unless_on_terminal():
        tensors = load_gguf_checkpoint(
            str(gguf_file), return_tensors=True, model_to_load=meta_model
        )
    weights = {name: tensor.float() for name, tensor in tensors["tensors"].items()}
    parameters = meta_model.state_dict()
    tied = set(meta_model.all_tied_weights_keys)
    missing = sorted(set(parameters) - set(weights) - tied)
    _raise_first_reason(gguf_file, [f"it lacks tensors, for instance {name}" for name in missing])
    _raise_first_reason(
        gguf_file,
        [
            f"the shape of its {name} is {tuple(weight.shape)}, not "
            f"{tuple(parameters[name].shape)} as its settings say"
            for name, weight in weights.items()
            if weight.shape != parameters[name].shape
        ],
    )
    LOG.info("%d tensors dequantized to float32", len(weights))
    file = folder / "model.safetensors"
    save_file(weights, file, metadata={"format": "pt"})
    store.set_usual_mode(file)


def _tensor_processor(header: Header, config: Any) -> Any:
    processor_class: Any = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)
    return processor_class(config=config.to_dict())


def _hide_bars_unless_on_terminal() -> contextlib.AbstractContextManager[Any]:
    if sys.stderr.isatty():
        return contextlib.nullcontext()
    return contextlib.redirect_stderr(io.StringIO())


def _unsupported_tokenizer_settings(header: Header) -> list[str]:
    """Reasons why the tokenizer would split texts otherwise than when the model was trained."""
    tokenizer_kind, pre = (header.metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    reasons = []
    if tokenizer_kind not in ("gpt2", "llama"):
        reasons.append(f"its tokenizer of kind {tokenizer_kind!r} is not supported")
    elif tokenizer_kind == "gpt2" and pre not in (
        *GGUF_PRE_TOKENIZER_SPLITS,
        *WITHOUT_SPLIT,
        "gpt-2",
    ):
        reasons.append(f"how its tokenizer splits text (tokenizer.ggml.pre {pre!r}) is not known")
    if header.metadata.get("tokenizer.ggml.add_eos_token"):
        reasons.append("its tokenizer appends an end-of-text token to every text")
    return reasons


def _load_tokenizer(gguf_file: Path, header: Header) -> Any:
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
    _set_begin_of_text(tokenizer, header)
    return tokenizer


def _set_begin_of_text(tokenizer: Any, header: Header) -> None:
    """Begin texts with the begin-of-text token if the file, or llama.cpp's default, says so."""
    pre = header.metadata.get("tokenizer.ggml.pre")
    default = header.metadata.get("tokenizer.ggml.model") == "llama" or pre in BEGINS
    adds_begin = bool(header.metadata.get("tokenizer.ggml.add_bos_token", default))
    begin_id = tokenizer.bos_token_id
    if begin_id is None or (tokenizer("a")["input_ids"][:1] == [begin_id]) == adds_begin:
        return
    begin_token = tokenizer.bos_token
    tokenizer.add_bos_token = adds_begin
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin_token} $A" if adds_begin else "$A",
        pair=f"{begin_token} $A {begin_token} $B" if adds_begin else "$A $B",
        special_tokens=[(begin_token, begin_id)],
    )
