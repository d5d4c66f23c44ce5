"""Run a variant on the dense model's tokens under different histories, in one pass each.

The history of an attention head is the keys and values of earlier positions that it reads. Each of
them may come from the variant itself or from the dense model. The choice is made per query and key,
so decoding many steps under a mixed history takes a single forward pass. It is made in an attention
function that transformers calls in place of its own, so no model code is copied.
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
"""The name under which our attention function is registered in transformers."""


class Attended(NamedTuple):
    """q, k and v of one attention sublayer, after norms and rotary embedding.

    Attributes
    ----------
    query : (histories, heads, positions, d_head).
    key, value : (histories, kv_heads, positions, d_head).
    """

    query: Tensor
    key: Tensor
    value: Tensor

    def under(self, history: int) -> "Attended":
        """Only one of the histories; every tensor is (1, …)."""
        return Attended._make(tensor[history : history + 1] for tensor in self)


class Scoring(NamedTuple):
    """What one attention sublayer needs besides q and k to compute α.

    Attributes
    ----------
    mask : additive, (histories, 1, positions, positions), very negative where a key is hidden.
    scaling : factor of q·k.
    cap : c in c tanh(q·k scaling / c), which some models apply before the mask.
    """

    mask: Tensor
    scaling: float
    cap: float | None = None


class Pass(NamedTuple):
    """Results of one forward pass.

    Attributes
    ----------
    h : (histories, positions, d), after the final norm.
    attended, scoring : of every attention sublayer, by block of the dense model.
    """

    h: Tensor
    attended: dict[int, Attended]
    scoring: dict[int, Scoring]


Reads = Callable[[int, Attended, Scoring], Tensor]
"""Block, its q, k and v, and its scoring -> outputs of the heads."""

_UNSUPPORTED = ("s_aux", "position_bias", "head_mask")
"""Attention options that are not supported: sinks, learned biases and head masks."""


def dense_cache(positions: int, start: int) -> Tensor:
    """Earlier positions come from the dense model; (positions, positions) bool, True = dense."""
    del start
    return torch.ones(positions, positions, dtype=torch.bool).tril(-1)


def prompt_perturbed(positions: int, start: int) -> Tensor:
    """Prompt positions come from the variant, generated ones from the dense model.

    `start` is the position of the last prompt token, which is step 0 and belongs to the prompt.
    """
    dense = dense_cache(positions, start)
    dense[:, : start + 1] = False
    return dense


def teacher_forced(positions: int, start: int) -> Tensor:
    """All positions come from the variant."""
    return torch.zeros_like(dense_cache(positions, start))


ON_DENSE_TOKENS: dict[str, Callable[[int, int], Tensor]] = {
    "dense_cache": dense_cache,
    "prompt_perturbed": prompt_perturbed,
    "teacher_forced": teacher_forced,
}
"""The histories on the dense model's tokens, in the order in which Δz telescopes (Eq. 70)."""


@torch.inference_mode()
def run(
    model: Any,
    token_ids: Tensor,
    edit: Edit | None = None,
    dense: Mapping[int, Attended] | None = None,
    from_dense: Tensor | None = None,
) -> Pass:
    """Run one pass over `token_ids`, with one batch row per history in `from_dense`.

    Parameters
    ----------
    model : the dense model, or a variant made by `loading.apply_edit`.
    token_ids : (positions,).
    edit : the edit that made the variant, which gives its blocks their dense numbers; None for the
        dense model.
    dense : `attended` of the dense pass on the same tokens.
    from_dense : (histories, positions, positions) bool, True where keys and values come from
        `dense`. None: a single history, in which all are the model's own.
    """
    histories = 1 if from_dense is None else len(from_dense)
    use_dense = None if from_dense is None else from_dense.unsqueeze(1).to(token_ids.device)
    attended: dict[int, Attended] = {}
    scoring: dict[int, Scoring] = {}

    def read(block: int, own: Attended, scores: Scoring) -> Tensor:
        attended[block] = own
        scoring[block] = scores
        dense_or_own = dense[block] if dense is not None else own
        weights = attention_weights(own, dense_or_own, use_dense, *scores)
        return _mixed(weights, own, dense_or_own, use_dense)

    with reading(Variant(model, edit or Edit()), read):
        ids = token_ids.unsqueeze(0).expand(histories, -1)
        h = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return Pass(h, attended, scoring)


@torch.inference_mode()
def continue_pass(
    variant: Variant, attended: Mapping[int, Attended], n_read: int, token_ids: Tensor
) -> Tensor:
    """Continue a pass after its first `n_read` tokens with other tokens.

    Parameters
    ----------
    variant : a variant, or the dense model as the variant of an empty edit.
    attended : q, k and v of its blocks in the earlier pass, by block of the dense model.
    n_read : number of tokens that both texts begin with.
    token_ids : (tokens,), the tokens that follow them.

    Returns
    -------
    States of `token_ids` after the final norm, (tokens, d).
    """
    model = variant.model
    body = anatomy.anatomy_of(model)
    cache = DynamicCache(config=model.config)
    for index, block in variant.blocks().items():
        if index in attended:
            before = attended[index]
            attention: Any = block.get_submodule(body.attn)
            key, value = before.key[:, :, :n_read], before.value[:, :, :n_read]
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
    """α = softmax(q·k scaling + mask), with a cap on q·k scaling if the model has one.

    The softmax is computed in float32 or float64, as in eager attention.

    Parameters
    ----------
    own, other : q, k and v of the model itself and of the other model.
    from_other : bool, True where k comes from `other`; None for nowhere.
    mask, scaling, cap : see `Scoring`.

    Returns
    -------
    (histories, heads, positions, positions) in the model's dtype.
    """
    groups = own.query.shape[1] // own.key.shape[1]
    scores = own.query @ _repeated(own.key, groups).mT
    if from_other is not None:
        scores = torch.where(from_other, own.query @ _repeated(other.key, groups).mT, scores)
    softmax_dtype = torch.promote_types(scores.dtype, torch.float32)
    scores = scores * scaling
    if cap is not None:
        scores = (scores / cap).tanh() * cap
    return (scores + mask).softmax(-1, dtype=softmax_dtype).to(scores.dtype)


def _mixed(weights: Tensor, own: Attended, other: Attended, from_other: Tensor | None) -> Tensor:
    """Σ α v, with the other model's values where `from_other` is True.

    It is the sum over own values plus the differences, so that equal values give exactly the same
    result wherever they come from.
    """
    groups = own.query.shape[1] // own.value.shape[1]
    output = weights @ _repeated(own.value, groups)
    if from_other is not None:
        output += (weights * from_other) @ _repeated(other.value - own.value, groups)
    return output


def _repeated(heads: Tensor, groups: int) -> Tensor:
    """Heads of keys or values, each repeated for the query heads that share it."""
    return heads.repeat_interleave(groups, dim=1)


@contextlib.contextmanager
def reading(variant: Variant, read: Reads) -> Iterator[None]:
    """Within the context, every attention sublayer computes its output with `read`.

    `read` gets the number that the block has in the dense model.
    """
    model = variant.model
    body = anatomy.anatomy_of(model)
    block_of = {id(block.get_submodule(body.attn)): i for i, block in variant.blocks().items()}

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any
    ) -> tuple[Tensor, None]:
        own = Attended(query, key, value)
        unsupported = [name for name in _UNSUPPORTED if options.get(name) is not None]
        if unsupported:
            raise ValueError(
                f"attention of {model.config.model_type} uses {', '.join(unsupported)}, which "
                "traces do not support. Choose another model."
            )
        scaling_option = options.get("scaling")
        scaling = query.shape[-1] ** -0.5 if scaling_option is None else scaling_option
        output = read(block_of[id(module)], own, Scoring(mask, scaling, options.get("softcap")))
        return output.transpose(1, 2).contiguous(), None

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, eager_mask)
    previous = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = previous
