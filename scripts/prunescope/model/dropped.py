"""Remove sublayers from a model, so that they need neither computation nor key-value cache.

This module needs torch alone, because exported checkpoints contain a copy of it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class DroppedSublayer(nn.Module):
    """A module that adds zero to the residual stream, without computation or key-value cache."""

    def __init__(self, sublayer: str) -> None:
        super().__init__()
        self.returns_pair = sublayer == "attn"
        self.counts_in: int | None = None
        """Layer of the cache in which to count positions, one byte per key and value, or None."""

    def forward(
        self, hidden_states: Tensor, past_key_values: Any = None, **_: object
    ) -> Tensor | tuple[Tensor, None]:
        """Return a zero that broadcasts; attention modules also return None for their weights."""
        zero = hidden_states.new_zeros(1)
        if self.counts_in is not None and past_key_values is not None:
            batch, positions, _d = hidden_states.shape
            placeholder = hidden_states.new_zeros(batch, 1, positions, 1, dtype=torch.bool)
            past_key_values.update(placeholder, placeholder, self.counts_in)
        return (zero, None) if self.returns_pair else zero


def drop(block: nn.Module, sublayer: str, module: str, out: str, norms: Iterable[str]) -> None:
    """Remove a sublayer: its module, its norms, and its output linear if outside the module.

    Parameters
    ----------
    block : the block that has it.
    sublayer : `attn` or `mlp`.
    module, out, norms : names within the block of the sublayer, of its output linear, of its norms.
    """
    block.set_submodule(module, DroppedSublayer(sublayer))
    outside = () if out.startswith(f"{module}.") else (out,)
    for name in (*norms, *outside):
        block.set_submodule(name, nn.Identity())


def renumber_caches(blocks: Sequence[nn.Module], attn: str, kinds: Sequence[str]) -> None:
    """Give the remaining attention sublayers consecutive layers of the key-value cache.

    transformers reads the number of cached positions from layer 0 of the cache, and creates layer i
    for the kind of attention of block i. The remaining sublayers of each kind therefore get the
    first layers of that kind. If none of the first block's kind is left, its dropped attention
    counts positions in layer 0.

    Parameters
    ----------
    blocks : the blocks of the model.
    attn : name within a block of the attention module.
    kinds : the kind of attention of each block, `layer_types` of the config.
    """
    indices_of_kind = {
        kind: iter([i for i, k in enumerate(kinds) if k == kind]) for kind in set(kinds)
    }
    attentions: list[tuple[str, Any]] = [
        (kind, block.get_submodule(attn)) for kind, block in zip(kinds, blocks, strict=True)
    ]
    remaining = [
        (kind, module) for kind, module in attentions if not isinstance(module, DroppedSublayer)
    ]
    if attentions and kinds[0] not in {kind for kind, _ in remaining}:
        attentions[0][1].counts_in = 0
    for kind, module in remaining:
        module.layer_idx = next(indices_of_kind[kind])
