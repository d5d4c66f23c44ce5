"""Causal attention of whole sequences on a CPU, without most of the keys that no query may see.

torch's kernel for a CPU leaves out masked keys by blocks of 512, so within these it computes the
whole square and masks half of it. Asked for a few queries at a time, with the keys up to the last
of them, it computes little more than the triangle (make bench). transformers calls this function in
the place of its own; what it does not serve goes there.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "prunescope_causal"
"""What transformers knows it by."""

_QUERIES_TOGETHER = 64
"""Fewer would leave out more keys, but make slower products."""

_ELSEWHERE = ("position_bias", "softcap", "cache", "s_aux")
"""Options that ask for more than causal attention."""


def use(model: Any) -> Any:
    """Have `model` attend by `attend` where it would leave attention to torch."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)
    return model


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """softmax(q·k scaling) v over the keys up to each query, (batch, positions, heads, d_head).

    Parameters
    ----------
    query : (batch, heads, positions, d_head). key, value : (batch, kv_heads, keys, d_head).
    attention_mask : None where the causal mask is the only one.
    options : of transformers, among them `scaling` and `is_causal`, None where the model leaves
        them to the module, and `dropout`.
    """
    is_causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    more = options.get("dropout") or any(options.get(name) is not None for name in _ELSEWHERE)
    if causal and attention_mask is None and not more and _serves(query, key):
        return causal_attention(query, key, value, options.get("scaling")), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """`attend` of as many keys as queries, a few queries at a time."""
    batch, heads, positions, _ = query.shape
    output = query.new_empty(batch, positions, heads, value.shape[-1])
    starts = range(0, positions, _QUERIES_TOGETHER)
    last = starts[-1]
    # Of the last queries; that of any others is a part of it.
    mask = query.new_full((_QUERIES_TOGETHER, last + _QUERIES_TOGETHER), -torch.inf).triu(last + 1)
    for start in starts:
        end = min(start + _QUERIES_TOGETHER, positions)
        so_far = mask[: end - start, last - start : last - start + end]
        some = nn.functional.scaled_dot_product_attention(
            query[:, :, start:end],
            key[:, :, :end],
            value[:, :, :end],
            attn_mask=so_far,
            scale=scaling,
            enable_gqa=True,
        )
        output[:, start:end] = some.transpose(1, 2)
    return output


def _serves(query: Tensor, key: Tensor) -> bool:
    """True where parts are many enough for every thread, and none asks for a gradient."""
    batch, heads, positions, _ = query.shape
    return (
        query.device.type == "cpu"
        and positions == key.shape[2]
        and positions > _QUERIES_TOGETHER
        and batch * heads >= torch.get_num_threads()
        and not (torch.is_grad_enabled() and query.requires_grad)
    )
