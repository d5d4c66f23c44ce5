"""Where a decoder keeps its blocks, sublayers, norms and lm_head. No model is forked.

To add an architecture: one entry in `ANATOMIES`, and its name in tests/tiny.py.
"""

from dataclasses import dataclass

from torch import nn

SUBLAYERS = ("attn", "mlp")
"""The halves of a block, in the order they run."""


@dataclass(frozen=True)
class Anatomy:
    """Dotted names: of parts of the model, and of parts of a block.

    Residual streams are read where the model itself passes them: `resid_pre` is the block's
    input, `resid_mid` the input of `reads_resid_mid`, `resid_post` the block's output. Whatever
    a block does inside (norms before or after a sublayer, scaled residuals) needs no entry.
    `attn_out` and `mlp_out` are the linears that write a sublayer's output, `block_settings` the
    keys of the model's config, where it has them, that hold one value per block;
    `logit_divisor` is the key of what the model divides its own logits by, if it does.
    """

    blocks: str = "model.layers"
    final_norm: str = "model.norm"
    lm_head: str = "lm_head"
    attn: str = "self_attn"
    mlp: str = "mlp"
    attn_out: str = "self_attn.o_proj"
    mlp_out: str = "mlp.down_proj"
    reads_resid_mid: str = "post_attention_layernorm"
    attn_norms: tuple[str, ...] = ("input_layernorm",)
    mlp_norms: tuple[str, ...] = ("post_attention_layernorm",)
    block_settings: tuple[str, ...] = ("layer_types",)
    logit_divisor: str | None = None


_POST_NORM = Anatomy(
    reads_resid_mid="mlp",
    attn_norms=("post_attention_layernorm",),
    mlp_norms=("post_feedforward_layernorm",),
)

ANATOMIES: dict[str, Anatomy] = {
    "llama": Anatomy(),
    "mistral": Anatomy(),
    "qwen2": Anatomy(),
    "qwen3": Anatomy(),
    "smollm3": Anatomy(block_settings=("layer_types", "no_rope_layers")),
    "phi3": Anatomy(),
    "granite": Anatomy(logit_divisor="logits_scaling"),
    "olmo2": _POST_NORM,
}
"""By `config.model_type`."""


def anatomy_of(model: nn.Module) -> Anatomy:
    """Anatomy of a loaded model. Raises ValueError for a model type without an entry."""
    model_type = model.config.model_type  # type: ignore[union-attr]
    try:
        return ANATOMIES[model_type]  # type: ignore[index]
    except KeyError:
        raise ValueError(
            f"model type {model_type!r} is not known; known are {', '.join(sorted(ANATOMIES))}. "
            "Add an entry to ANATOMIES in scripts/prunescope/anatomy.py."
        ) from None


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks, in order."""
    blocks = model.get_submodule(anatomy_of(model).blocks)
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def lm_head_of(model: nn.Module) -> nn.Linear:
    """The linear that maps h to z."""
    lm_head = model.get_submodule(anatomy_of(model).lm_head)
    assert isinstance(lm_head, nn.Linear)
    return lm_head


def final_norm_of(model: nn.Module) -> nn.Module:
    """The norm before `lm_head`."""
    return model.get_submodule(anatomy_of(model).final_norm)
