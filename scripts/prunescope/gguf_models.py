"""A quantized GGUF file, dequantized once into the folder any other code reads: safetensors."""

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.integrations.gguf.gguf_tokenizer_mapping import get_gguf_tokenizer
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from prunescope import store
from prunescope.progress import LOG

WITHOUT_SPLIT = ("smollm", "starcoder", "refact", "command-r", "codeshell")
"""Vocabularies, as llama.cpp names them, that split every digit off before anything else.

transformers builds these as GPT-2's, which differs wherever white space meets a digit: a blank line
and `1.` would start with two tokens the model has hardly ever seen instead of one.
"""


def dequantize(gguf_file: Path, folder: Path) -> None:
    """Write config, generation config, float32 weights and tokenizer of a GGUF file to `folder`.

    The weights go past `from_pretrained`, which would ask for accelerate and leave a quantization
    config that `save_pretrained` refuses.
    """
    config = AutoConfig.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    config.architectures = [type(empty).__name__]
    config.dtype = torch.float32
    config.save_pretrained(folder)
    _generation_config(config).save_pretrained(folder)
    _save_weights(gguf_file, empty, folder)
    _tokenizer(gguf_file).save_pretrained(folder)


def _generation_config(config: Any) -> GenerationConfig:
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )


def _save_weights(gguf_file: Path, empty: Any, folder: Path) -> None:
    """Save every tensor of the file; raise ValueError unless they make the whole model."""
    with _bars_on_terminals_only():
        tensors = load_gguf_checkpoint(str(gguf_file), return_tensors=True, model_to_load=empty)
    weights = {name: tensor.float() for name, tensor in tensors["tensors"].items()}
    tied = set(empty.all_tied_weights_keys)
    missing = set(empty.state_dict()) - set(weights) - tied
    if missing:
        raise ValueError(f"{gguf_file.name} lacks {len(missing)} tensors: {sorted(missing)[:3]}.")
    LOG.info("%d tensors dequantized to float32", len(weights))
    file = folder / "model.safetensors"
    save_file(weights, file, metadata={"format": "pt"})
    store.set_usual_mode(file)


def _bars_on_terminals_only() -> contextlib.AbstractContextManager[Any]:
    if sys.stderr.isatty():
        return contextlib.nullcontext()
    return contextlib.redirect_stderr(io.StringIO())


def _tokenizer(gguf_file: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    if _vocabulary_kind(gguf_file) in WITHOUT_SPLIT:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    return tokenizer


def _vocabulary_kind(gguf_file: Path) -> str | None:
    """`tokenizer.ggml.pre` of the file: how llama.cpp splits text before merging."""
    _, tokenizer, _ = get_gguf_tokenizer(str(gguf_file))
    kind: str | None = tokenizer.get("pre_tokenizer_type")
    return kind
