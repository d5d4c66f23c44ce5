"""A variant on the dense model's tokens under one history or another, in one pass each.

What an attention head reads of earlier positions is its history. Here keys and values of earlier
positions may be the variant's own or the dense model's: rows of the attention choose, so a decode
of many steps under a mixed history is one pass. No model is forked: the choice is made in an
attention function that transformers calls in place of its own.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from prunescope.model import anatomy
from prunescope.model.edits import Edit
from prunescope.model.variant import Variant

NAME = "prunescope_history"
"""What transformers knows our attention by."""


class Attended(NamedTuple):
    """What one attention sublayer read: q, k, v after norms and rotary embedding.

    query : (histories, heads, positions, d_head). key, value : (histories, kv_heads, …).
    """

    query: Tensor
    key: Tensor
    value: Tensor

    def under(self, history: int) -> "Attended":
        """One history of several, (1, …)."""
        return Attended._make(tensor[history : history + 1] for tensor in self)


class Scoring(NamedTuple):
    """What turns q·k of one attention sublayer into α, next to q and k.

    mask : additive, (histories, 1, positions, positions), very negative where a key is not seen.
    cap : c of c tanh(q·k scaling / c), which some models put before the mask.
    """

    mask: Tensor
    scaling: float
    cap: float | None = None


class Pass(NamedTuple):
    """One pass of a model: what lm_head reads, and what every attention sublayer read.

    h : (histories, positions, d), after the final norm. attended, scoring : by block of the dense
    model.
    """

    h: Tensor
    attended: dict[int, Attended]
    scoring: dict[int, Scoring]


Reads = Callable[[int, Attended, Scoring], Tensor]
"""Block, q k v, what turns q·k into α -> head outputs."""

_NOT_READ = ("s_aux", "position_bias", "head_mask")
"""Options of attention that are left out here, and so refused: sinks, learned biases, masks."""


def dense_cache(positions: int, start: int) -> Tensor:
    """Every earlier position is the dense model's; (positions, positions) bool, True = dense."""
    del start
    return torch.ones(positions, positions, dtype=torch.bool).tril(-1)


def prompt_perturbed(positions: int, start: int) -> Tensor:
    """Prompt positions are the variant's own, generated ones the dense model's.

    `start` is the last prompt token: step 0 is read from it, and it belongs to the prompt.
    """
    dense = dense_cache(positions, start)
    dense[:, : start + 1] = False
    return dense


def teacher_forced(positions: int, start: int) -> Tensor:
    """Every position is the variant's own."""
    return torch.zeros_like(dense_cache(positions, start))


ON_DENSE_TOKENS: dict[str, Callable[[int, int], Tensor]] = {
    "dense_cache": dense_cache,
    "prompt_perturbed": prompt_perturbed,
    "teacher_forced": teacher_forced,
}
"""Histories of the same tokens, in the order in which Δz telescopes (Eq. 70)."""


@torch.inference_mode()
def run(
    model: Any,
    token_ids: Tensor,
    edit: Edit | None = None,
    dense: Mapping[int, Attended] | None = None,
    from_dense: Tensor | None = None,
) -> Pass:
    """One pass over `token_ids` under as many histories as `from_dense` has.

    Parameters
    ----------
    model : dense, or a variant of it by `models.apply_edit`.
    token_ids : (positions,).
    edit : the variant's, whose dropped blocks are left out in its numbering; None for dense.
    dense, from_dense : the dense pass's `attended` on the same tokens, and where keys and values
        are taken from it, (histories, positions, positions) bool. None: nowhere, one history.
    """
    histories = 1 if from_dense is None else len(from_dense)
    chosen = None if from_dense is None else from_dense.unsqueeze(1).to(token_ids.device)
    attended: dict[int, Attended] = {}
    scoring: dict[int, Scoring] = {}

    def read(block: int, own: Attended, scores: Scoring) -> Tensor:
        attended[block] = own
        scoring[block] = scores
        other = dense[block] if dense is not None else own
        weights = attention_weights(own, other, chosen, *scores)
        return _mixed(weights, own, other, chosen)

    with reading(Variant(model, edit or Edit()), read):
        ids = token_ids.unsqueeze(0).expand(histories, -1)
        h = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return Pass(h, attended, scoring)


@torch.inference_mode()
def go_on(
    variant: Variant, attended: Mapping[int, Attended], n_read: int, token_ids: Tensor
) -> Tensor:
    """States after the final norm of other tokens from a place on, (tokens, d).

    Parameters
    ----------
    variant : or dense, as a variant of an empty edit.
    attended : what the attention of its blocks read in a pass that began with the same `n_read`
        tokens, by block of the dense model.
    token_ids : (tokens,), what follows them.
    """
    model = variant.model
    body = anatomy.anatomy_of(model)
    cache = DynamicCache(config=model.config)
    for index, block in variant.blocks().items():
        if index in attended:
            read = attended[index]
            attention: Any = block.get_submodule(body.attn)
            key, value = read.key[:, :, :n_read], read.value[:, :, :n_read]
            cache.update(key, value, attention.layer_idx)
    out = model.base_model(input_ids=token_ids.unsqueeze(0), past_key_values=cache, use_cache=True)
    h: Tensor = out.last_hidden_state[0]
    return h


def attention_weights(
    own: Attended,
    other: Attended,
    from_other: Tensor | None,
    mask: Tensor,
    scaling: float,
    cap: float | None = None,
) -> Tensor:
    """α = softmax(q·k scaling + mask), k the other's where chosen, capped where the model caps.

    Normalised in float32 or better, as eager attention does; (histories, heads, positions,
    positions) in the model's dtype.
    """
    groups = own.query.shape[1] // own.key.shape[1]
    scores = own.query @ _repeated(own.key, groups).mT
    if from_other is not None:
        scores = torch.where(from_other, own.query @ _repeated(other.key, groups).mT, scores)
    wide = torch.promote_types(scores.dtype, torch.float32)
    scores = scores * scaling
    if cap is not None:
        scores = (scores / cap).tanh() * cap
    return (scores + mask).softmax(-1, dtype=wide).to(scores.dtype)


def _mixed(weights: Tensor, own: Attended, other: Attended, from_other: Tensor | None) -> Tensor:
    """Σ α v with the other's values where chosen: what differs is added to the own sum.

    So equal values give the own sum to the bit, whatever is chosen.
    """
    groups = own.query.shape[1] // own.value.shape[1]
    output = weights @ _repeated(own.value, groups)
    if from_other is not None:
        output += (weights * from_other) @ _repeated(other.value - own.value, groups)
    return output


def _repeated(heads: Tensor, groups: int) -> Tensor:
    """Key or value heads, each repeated for the query heads that share it."""
    return heads.repeat_interleave(groups, dim=1)


@contextlib.contextmanager
def reading(variant: Variant, read: Reads) -> Iterator[None]:
    """While open, every attention sublayer of the model reads by `read`, in dense numbering."""
    model = variant.model
    body = anatomy.anatomy_of(model)
    index = {id(block.get_submodule(body.attn)): i for i, block in variant.blocks().items()}

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any
    ) -> tuple[Tensor, None]:
        own = Attended(query, key, value)
        unread = [name for name in _NOT_READ if options.get(name) is not None]
        if unread:
            raise ValueError(
                f"attention of {model.config.model_type} takes {', '.join(unread)}, which traces "
                "do not read. Choose another model."
            )
        given = options.get("scaling")
        scaling = query.shape[-1] ** -0.5 if given is None else given
        output = read(index[id(module)], own, Scoring(mask, scaling, options.get("softcap")))
        return output.transpose(1, 2).contiguous(), None

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, eager_mask)
    usual = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = usual
