"""Map hidden states to logits and probabilities: z = lm_head(h), p = softmax(z/T)."""

from typing import Any

import torch
from torch import Tensor, nn

from prunescope.machine import products
from prunescope.model import anatomy

VOCABULARY_TILE = 8192
"""Tokens of a half-precision lm_head whose weights are converted at a time.

At 256 rows, the conversion takes about 4 % of the time.
"""


class Unembedding(nn.Module):
    """The map h -> z of Eq. 2. Logits are float32 even if the model is in half precision.

    Parameters
    ----------
    lm_head : the model's (…, d) -> (…, vocab) linear, tied or not.
    final_norm : norm applied before lm_head (the usual logit lens); None for the paper's Eq. 2.
    divisor, factor, cap : if given, logits are divided by `divisor`, multiplied by `factor`, and
        capped as cap tanh(z/cap), as the model itself does. The same holds for the logits of
        intermediate states.
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
        """Number of tokens in the vocabulary."""
        return self.lm_head.weight.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the logits: float32 or, for a float64 model, float64."""
        return torch.promote_types(self.lm_head.weight.dtype, torch.float32)

    def forward(self, h: Tensor, out: Tensor | None = None) -> Tensor:
        """Logits of `h`, (rows, d) -> (rows, vocab), written to `out` if given."""
        if self.final_norm is not None:
            h = self.final_norm(h.to(self.lm_head.weight.dtype))
        weight = self.lm_head.weight
        dtype = self.dtype
        h = h.to(dtype)
        if out is None:
            out = h.new_empty(h.shape[0], self.vocabulary)
        if weight.dtype == dtype:
            products.linear_into(out, h, weight)
        else:
            for tile, columns in zip(
                weight.split(VOCABULARY_TILE), out.split(VOCABULARY_TILE, dim=1), strict=True
            ):
                torch.mm(h, tile.to(dtype).T, out=columns)
        if self.lm_head.bias is not None:
            out += self.lm_head.bias.to(dtype)
        if self.divisor is not None:
            out /= self.divisor
        if self.factor is not None:
            out *= self.factor
        if self.cap is not None:
            out.div_(self.cap).tanh_().mul_(self.cap)
        return out


def output_of(model: Any) -> Unembedding:
    """The map from the input of lm_head, h after the final norm, to the model's logits."""
    return readout_of(model, final_norm=False)


def readout_of(model: Any, final_norm: bool) -> Unembedding:
    """The map from an intermediate state to logits: z = W h (Eq. 2), or z = W norm(h)."""
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
