"""From hidden states to logits to probabilities: h -> z = lm_head(h) -> p = softmax(z/T)."""

from typing import Any

import torch
from torch import Tensor, nn

from prunescope.machine import products
from prunescope.model import anatomy

VOCABULARY_TILE = 8192
"""Columns of a half-precision lm_head converted at a time: about 4 % of the cost at 256 rows."""


class Unembedding(nn.Module):
    """The map h -> z of Eq. 2, with float32 logits whatever the model's dtype.

    Parameters
    ----------
    lm_head : the model's own (…, d) -> (…, vocab) linear, tied or not.
    final_norm : applied first when given (the usual logit lens); None is the paper's Eq. 2.
    divisor, factor, cap : logits are divided by the first, multiplied by the second, and become
        c tanh(z/c), where the model itself does so. Its intermediate logits are read by the same
        map: z is what the model would say.
    """

    def __init__(
        self,
        lm_head: nn.Linear,
        final_norm: nn.Module | None = None,
        divisor: float | None = None,
        factor: float | None = None,
        cap: float | None = None,
    ) -> None:
        super().__init__()
        self.lm_head = lm_head
        self.final_norm = final_norm
        self.divisor, self.factor, self.cap = divisor, factor, cap

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
        if self.factor is not None:
            out *= self.factor
        if self.cap is not None:
            out.div_(self.cap).tanh_().mul_(self.cap)
        return out


def output_of(model: Any) -> Unembedding:
    """The map to the model's own logits, from what its lm_head reads: h after the final norm."""
    return readout_of(model, final_norm=False)


def readout_of(model: Any, final_norm: bool) -> Unembedding:
    """The map from a state between blocks to logits: Eq. 2, or with the final norm before it."""
    body = anatomy.anatomy_of(model)
    divisor, factor, cap = (
        getattr(model.config, name, None)
        for name in (body.logit_divisor, body.logit_factor, body.logit_cap)
    )
    norm = anatomy.final_norm_of(model) if final_norm else None
    return Unembedding(anatomy.lm_head_of(model), norm, divisor, factor, cap)


def probabilities(z: Tensor, temperature: float) -> Tensor:
    """p = softmax(z/T), (…, vocab) -> (…, vocab) (Eq. 3)."""
    return (z if temperature == 1 else z / temperature).softmax(-1)
