"""The names of the blocks, sublayers, norms and lm_head in each supported architecture.

Thanks to these names, no model code has to be copied. To add an architecture, add an entry to
`ANATOMIES`, as docs/extend/architecture.md explains.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import nn

SUBLAYERS = ("attn", "mlp")
"""The two sublayers of a block, in the order in which they run."""


@dataclass(frozen=True)
class Sublayer:
    """One sublayer of a model: the number of its block, and its kind, one of `SUBLAYERS`.

    Sublayers are numbered in the order in which they run. Sublayer s reads boundary s of the
    residual stream and writes boundary s + 1.
    """

    block: int
    kind: str

    @property
    def index(self) -> int:
        """The number of this sublayer among all sublayers of the model."""
        return len(SUBLAYERS) * self.block + SUBLAYERS.index(self.kind)

    @classmethod
    def from_index(cls, index: int) -> "Sublayer":
        """The sublayer with that number."""
        block, half = divmod(index, len(SUBLAYERS))
        return cls(block, SUBLAYERS[half])


class SublayerParts(NamedTuple):
    """Dotted names, within a block, of the parts of one sublayer; see `Anatomy`."""

    module: str
    out: str
    norms: tuple[str, ...]
    sum_norm: str | None


@dataclass(frozen=True)
class Anatomy:
    """Dotted names of the parts of a model and of a block, and of some keys of its config.

    The residual stream is recorded at the modules between which the model passes it: `resid_pre` is
    the input of the block, `resid_mid` the input of `reads_resid_mid`, and `resid_post` the output
    of the block. Other operations within a block (norms before or after a sublayer, scaled
    residuals) need no entry.

    An encoder like BERT applies norms to the residual stream itself:
    resid_mid = norm(resid_pre + attention). The input of such a norm is the sum, and the norm stays
    if the sublayer is dropped. In such a model `attn` and `mlp` are the modules before `attn_out`
    and `mlp_out`, and no norm or lm_head follows the blocks.

    Attributes
    ----------
    blocks, final_norm, lm_head : names in the model.
    attn, mlp : modules of the sublayers.
    attn_out, mlp_out : the linears that write the output of each sublayer.
    reads_resid_mid : the module whose input is `resid_mid`.
    attn_norms, mlp_norms : norms that belong to a sublayer and are dropped with it.
    block_settings : keys of the model's config that hold one value per block, if it has them.
    logit_divisor, logit_factor : keys of the numbers by which the model divides and multiplies its
        logits, if it does.
    logit_cap : key of the cap c in c tanh(z/c), if the model caps its logits.
    attn_sum_norm, mlp_sum_norm : norms of the residual stream itself, as in BERT.
    """

    blocks: str = "model.layers"
    final_norm: str | None = "model.norm"
    lm_head: str | None = "lm_head"
    attn: str = "self_attn"
    mlp: str = "mlp"
    attn_out: str = "self_attn.o_proj"
    mlp_out: str = "mlp.down_proj"
    reads_resid_mid: str = "post_attention_layernorm"
    attn_norms: tuple[str, ...] = ("input_layernorm",)
    mlp_norms: tuple[str, ...] = ("post_attention_layernorm",)
    block_settings: tuple[str, ...] = ("layer_types",)
    logit_divisor: str = "logits_scaling"
    logit_factor: str = "logit_scale"
    logit_cap: str = "final_logit_softcapping"
    attn_sum_norm: str | None = None
    mlp_sum_norm: str | None = None

    @property
    def sublayers(self) -> dict[str, SublayerParts]:
        """The parts of each sublayer of a block, by kind."""
        return {
            "attn": SublayerParts(self.attn, self.attn_out, self.attn_norms, self.attn_sum_norm),
            "mlp": SublayerParts(self.mlp, self.mlp_out, self.mlp_norms, self.mlp_sum_norm),
        }

    def sublayer_of(self, name: str) -> str | None:
        """The kind of sublayer that a module or parameter of a block belongs to, norms included."""
        for kind, parts in self.sublayers.items():
            owned = (parts.module, parts.out, *parts.norms)
            if any(f"{name}.".startswith(f"{part}.") for part in owned):
                return kind
        return None


_FOUR_NORMS = Anatomy(
    reads_resid_mid="pre_feedforward_layernorm",
    attn_norms=("input_layernorm", "post_attention_layernorm"),
    mlp_norms=("pre_feedforward_layernorm", "post_feedforward_layernorm"),
)

_EXPERTS = Anatomy(mlp_out="mlp.experts")

_POST_NORM = Anatomy(
    reads_resid_mid="mlp",
    attn_norms=("post_attention_layernorm",),
    mlp_norms=("post_feedforward_layernorm",),
)

_BERT = Anatomy(
    blocks="encoder.layer",
    final_norm=None,
    lm_head=None,
    attn="attention.self",
    mlp="intermediate",
    attn_out="attention.output.dense",
    mlp_out="output.dense",
    reads_resid_mid="intermediate",
    attn_norms=(),
    mlp_norms=(),
    attn_sum_norm="attention.output.LayerNorm",
    mlp_sum_norm="output.LayerNorm",
)

ANATOMIES: dict[str, Anatomy] = {
    "llama": Anatomy(),
    "mistral": Anatomy(),
    "qwen2": Anatomy(),
    "qwen3": Anatomy(),
    "smollm3": Anatomy(block_settings=("layer_types", "no_rope_layers")),
    "phi3": Anatomy(),
    "granite": Anatomy(),
    "olmo2": _POST_NORM,
    "gemma": Anatomy(),
    "gemma2": _FOUR_NORMS,
    "gemma3_text": _FOUR_NORMS,
    "mixtral": _EXPERTS,
    "qwen3_moe": _EXPERTS,
    "gpt2": Anatomy(
        blocks="transformer.h",
        final_norm="transformer.ln_f",
        attn="attn",
        attn_out="attn.c_proj",
        mlp_out="mlp.c_proj",
        reads_resid_mid="ln_2",
        attn_norms=("ln_1",),
        mlp_norms=("ln_2",),
    ),
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
}
"""The anatomy of each supported `config.model_type`."""


def anatomy_of(model: nn.Module) -> Anatomy:
    """The anatomy of a loaded model. Raises ValueError if its model type has no entry.

    If a decoder is loaded without its lm_head, as embedding models are, its names lack the prefix
    `model.` (in GPT-2: `transformer.`).
    """
    model_type = model.config.model_type  # type: ignore[union-attr]
    try:
        anatomy = ANATOMIES[model_type]  # type: ignore[index]
    except KeyError:
        raise ValueError(
            f"model type {model_type!r} is not known; known are {', '.join(sorted(ANATOMIES))}. "
            "Add an entry to ANATOMIES in scripts/prunescope/model/anatomy.py: "
            "docs/extend/architecture.md says how."
        ) from None
    if anatomy.lm_head is None or model.base_model is not model:
        return anatomy
    prefix = f"{model.base_model_prefix}."
    blocks, norm = anatomy.blocks.removeprefix(prefix), str(anatomy.final_norm).removeprefix(prefix)
    return replace(anatomy, blocks=blocks, final_norm=norm, lm_head=None)


def missing_parts(model: nn.Module, kind: str) -> list[str]:
    """Names in the model's anatomy that the model does not have, each once.

    Parameters
    ----------
    model : the loaded model.
    kind : `causal` or `encoder`; an encoder need not have an lm_head.
    """
    body = anatomy_of(model)
    in_model = [body.blocks, body.final_norm, body.lm_head if kind == "causal" else None]
    missing = [name for name in in_model if name and not _has(model, name)]
    if body.blocks in missing:
        return missing
    in_block = [body.reads_resid_mid]
    for parts in body.sublayers.values():
        in_block += [parts.module, parts.out, *parts.norms, parts.sum_norm or parts.module]
    absent = [name for block in blocks_of(model) for name in in_block if not _has(block, name)]
    return list(dict.fromkeys([*missing, *absent]))


def _has(module: nn.Module, name: str) -> bool:
    try:
        module.get_submodule(name)
    except AttributeError:
        return False
    return True


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks, in order."""
    blocks = model.get_submodule(anatomy_of(model).blocks)
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def lm_head_of(model: nn.Module) -> nn.Linear:
    """The linear that maps h to z. Raises ValueError if the model has none."""
    lm_head = _part(model, anatomy_of(model).lm_head, "lm_head")
    assert isinstance(lm_head, nn.Linear)
    return lm_head


def final_norm_of(model: nn.Module) -> nn.Module:
    """The norm before `lm_head`. Raises ValueError if the model has none."""
    return _part(model, anatomy_of(model).final_norm, "final_norm")


def _part(model: nn.Module, name: str | None, part: str) -> nn.Module:
    if name is None:
        raise ValueError(
            f"the model has no {part}: it makes embeddings, not logits. Choose a causal model."
        )
    return model.get_submodule(name)
