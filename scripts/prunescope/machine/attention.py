"""Fast causal attention of whole sequences on a CPU.

In causal attention a query sees only the keys up to its own position, so that half of all pairs of
query and key are masked. torch's attention kernel for CPUs skips masked keys only in blocks of 512;
within a block it computes the whole square and then masks half of it. This module calls the same
kernel for 64 queries at a time, with only the keys up to the last of these queries. That computes
little more than the unmasked triangle, and is faster (`make bench`). The result is the same up to
rounding.

The function is registered with transformers as an implementation of attention under the name
`NAME`, and `use` selects it for a model. Calls that are not plain causal attention on a CPU (other
masks, dropout, soft caps, a cache, gradients, few heads) are passed on to transformers' own
function.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "prunescope_causal"
"""Name under which transformers knows this implementation of attention."""

_QUERIES_PER_CALL = 64
"""Number of queries per call of the kernel. Fewer would skip more keys but make slower products."""

_UNSUPPORTED_OPTIONS = ("position_bias", "softcap", "cache", "s_aux")
"""Options of transformers that require more than causal attention."""


def use(model: Any) -> Any:
    """Make `model` use `attend` if it is configured to use torch's attention; returns the model."""
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
    """Attention softmax(scaling · q kᵀ) v, in which each query sees the keys up to its position.

    The signature is that of attention functions in transformers.

    Parameters
    ----------
    module : the attention module; its `is_causal` is used if `is_causal` is None.
    query : (batch, heads, positions, d_head).
    key : (batch, kv_heads, keys, d_head).
    value : (batch, kv_heads, keys, d_head).
    attention_mask : None if the causal mask is the only one.
    options : of transformers, among them `scaling`, the factor of q kᵀ (None stands for
        1 / √d_head), `is_causal`, and `dropout`, the probability of dropping a weight.

    Returns
    -------
    Tensor of shape (batch, positions, heads, d_head), and None in place of the attention weights.
    """
    is_causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    needs_more = options.get("dropout") or any(
        options.get(name) is not None for name in _UNSUPPORTED_OPTIONS
    )
    if causal and attention_mask is None and not needs_more and _can_compute(query, key):
        return causal_attention(query, key, value, options.get("scaling")), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """Compute causal attention with as many keys as queries, for a few queries at a time.

    Parameters
    ----------
    query : (batch, heads, positions, d_head).
    key : (batch, kv_heads, positions, d_head).
    value : (batch, kv_heads, positions, d_head).
    scaling : factor of q kᵀ; None stands for 1 / √d_head.

    Returns
    -------
    Tensor of shape (batch, positions, heads, d_head).
    """
    batch, heads, positions, _ = query.shape
    output = query.new_empty(batch, positions, heads, value.shape[-1])
    starts = range(0, positions, _QUERIES_PER_CALL)
    last_start = starts[-1]
    # The mask of the last block of queries; the mask of any other block is a part of it.
    mask = query.new_full((_QUERIES_PER_CALL, last_start + _QUERIES_PER_CALL), -torch.inf).triu(
        last_start + 1
    )
    for start in starts:
        end = min(start + _QUERIES_PER_CALL, positions)
        block_mask = mask[: end - start, last_start - start : last_start - start + end]
        attended = nn.functional.scaled_dot_product_attention(
            query[:, :, start:end],
            key[:, :, :end],
            value[:, :, :end],
            attn_mask=block_mask,
            scale=scaling,
            enable_gqa=True,
        )
        output[:, start:end] = attended.transpose(1, 2)
    return output


def _can_compute(query: Tensor, key: Tensor) -> bool:
    """Whether `causal_attention` can compute this and is likely to be faster than one call.

    It needs a CPU, as many keys as queries, no gradients, and at least one pair of sequence and
    head per thread, because the kernel distributes these pairs over the threads.
    """
    batch, heads, positions, _ = query.shape
    return (
        query.device.type == "cpu"
        and positions == key.shape[2]
        and positions > _QUERIES_PER_CALL
        and batch * heads >= torch.get_num_threads()
        and not (torch.is_grad_enabled() and query.requires_grad)
    )
