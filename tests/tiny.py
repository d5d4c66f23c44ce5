"""Tiny random models, one per architecture, and one with a tokenizer in a folder."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoConfig, PreTrainedTokenizerFast

from prunescope.model.anatomy import ANATOMIES
from prunescope.model.loading import KINDS

DROPPABLE = ("gpt2", "mixtral", "qwen3_moe")
"""Decoders whose blocks keep matrices in no linear: dropped and traced, not pruned by weight."""

CAPPED = ("gemma2", "gemma3_text")
"""Decoders that norm in float32 in any dtype, cap or mix windows (test_architectures.py)."""

ARCHITECTURES = sorted(
    name for name, body in ANATOMIES.items() if body.lm_head and name not in (*DROPPABLE, *CAPPED)
)
"""Every other decoder with an anatomy; each has a tiny model here."""

EMBEDDERS = (*sorted(name for name, body in ANATOMIES.items() if not body.lm_head), "mistral")
"""Models without lm_head: every encoder, and a decoder loaded as embedding models are."""

_COMMON: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

_OWN: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 4},
    "granite": {"residual_multiplier": 0.5, "logits_scaling": 2.0},
    "smollm3": {"no_rope_layer_interval": 2},
    "gemma2": {
        "query_pre_attn_scalar": 8,
        "sliding_window": 4,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "gemma3_text": {
        "query_pre_attn_scalar": 8,
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    },
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen3_moe": {
        "moe_intermediate_size": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    },
    "gpt2": {"n_inner": 40, "n_positions": 4096, "head_dim": None},
}

TEXTS = (
    "the quick brown fox jumps over the lazy dog while a second fox looks on",
    "seven wagons with sixteen passengers each stop at a small station by the sea",
    "answer with one letter: a lighthouse keeper writes a letter without a sender",
    "user assistant system which of these is taller, the ladder or the violin",
)


def tiny_model(
    architecture: str,
    vocabulary: int = 101,
    seed: int = 0,
    kind: str = "causal",
    **settings: object,
) -> Any:
    """A random model of 3 blocks, d 24, with weights large enough that every part matters."""
    config = AutoConfig.for_model(
        architecture,
        vocab_size=vocabulary,
        **{**_COMMON, **_OWN.get(architecture, {}), **settings},
    )
    torch.manual_seed(seed)
    model = KINDS[kind].from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name.lower() and parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(std=0.3)
    return model.eval().requires_grad_(False)


def make_tiny_model(folder: str | Path, architecture: str = "llama", **settings: object) -> Path:
    """Save a tiny model with a trained tokenizer and a chat template, in the hub's layout."""
    folder = Path(folder)
    raw = Tokenizer(BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    raw.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.chat_template = (
        "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}\n"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    model = tiny_model(architecture, vocabulary=raw.get_vocab_size(), **settings)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
