"""From hidden states to logits to probabilities: h -> z = lm_head(h) -> p = softmax(z/T)."""

from typing import Any

import torch
from torch import Tensor, nn

from prunescope import anatomy, products

VOCABULARY_TILE = 8192
"""Columns of a half-precision lm_head converted at a time: about 4 % of the cost at 256 rows."""


class Unembedding(nn.Module):
    """The map h -> z of Eq. 2, with float32 logits whatever the model's dtype.

    Parameters
    ----------
    lm_head : the model's own (…, d) -> (…, vocab) linear, tied or not.
    final_norm : applied first when given (the usual logit lens); None is the paper's Eq. 2.
    divisor : logits are divided by it, where the model itself does so.
    """

    def __init__(
        self,
        lm_head: nn.Linear,
        final_norm: nn.Module | None = None,
        divisor: float | None = None,
    ) -> None:
        super().__init__()
        self.lm_head = lm_head
        self.final_norm = final_norm
        self.divisor = divisor

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.lm_head.weight.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the logits: float32 or, for a float64 model, float64."""
        return torch.promote_types(self.lm_head.weight.dtype, torch.float32)

    def forward(self, h: Tensor, out: Tensor | None = None) -> Tensor:
        """Logits of `h`, (rows, d) -> (rows, vocab), into `out` where given."""
        if self.final_norm is not None:
            h = self.final_norm(h.to(self.lm_head.weight.dtype))
        weight = self.lm_head.weight
        wide = self.dtype
        h = h.to(wide)
        if out is None:
            out = h.new_empty(h.shape[0], self.vocabulary)
        if weight.dtype == wide:
            products.linear_into(out, h, weight)
        else:
            for tile, place in zip(
                weight.split(VOCABULARY_TILE), out.split(VOCABULARY_TILE, dim=1), strict=True
            ):
                torch.mm(h, tile.to(wide).T, out=place)
        if self.lm_head.bias is not None:
            out += self.lm_head.bias.to(wide)
        if self.divisor is not None:
            out /= self.divisor
        return out


def output_of(model: Any) -> Unembedding:
    """The map to the model's own logits, from what its lm_head reads: h after the final norm."""
    named = anatomy.anatomy_of(model).logit_divisor
    divisor = None if named is None else getattr(model.config, named)
    return Unembedding(anatomy.lm_head_of(model), divisor=divisor)


def probabilities(z: Tensor, temperature: float) -> Tensor:
    """p = softmax(z/T), (…, vocab) -> (…, vocab) (Eq. 3)."""
    return (z if temperature == 1 else z / temperature).softmax(-1)
