"""Products of linears, x Wᵀ + b, near the peak of a CPU.

torch leaves float32 products to MKL, which stays a tenth below that peak on AMD processors, and a
third below for a few rows. oneDNN, a library within torch too, comes closer, most of all where a
weight lies in the order its loops read (make bench). It is asked by the operator that torch's own
compiler puts in the place of a linear; torch is pinned, and elsewhere the product is torch's usual.
"""

from typing import Any

import torch
from torch import Tensor, nn

_OPERATORS = torch.ops.mkldnn

_ROWS_TOGETHER = 64
"""Rows of a product that goes into memory given: so many are computed, then copied."""

_TYPICAL_ROWS = 128
"""oneDNN orders a weight for so many rows; from 16 on the order is one and the same."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, (…, in) and (out, in) -> (…, out); `weight` may be `ordered`."""
    if _serves(x, weight):
        product: Tensor = _OPERATORS._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return nn.functional.linear(x, weight, bias)


def linear_into(out: Tensor, x: Tensor, weight: Tensor) -> None:
    """x Wᵀ into `out`, (rows, in) and (out, in) -> (rows, out)."""
    if _serves(x, weight):
        for some, place in zip(x.split(_ROWS_TOGETHER), out.split(_ROWS_TOGETHER), strict=True):
            place.copy_(linear(some, weight))
    else:
        torch.mm(x, weight.T, out=out)


def ordered(weight: Tensor) -> Tensor:
    """A weight in the order oneDNN reads it in, for `linear`; itself where oneDNN does not serve.

    A copy, without strides: it can be multiplied with, not indexed.
    """
    if not _serves(weight, weight):
        return weight
    copy: Tensor = _OPERATORS._reorder_linear_weight(weight, _TYPICAL_ROWS)
    return copy


def is_ordered(weight: Tensor) -> bool:
    """True for what `ordered` gave."""
    return weight.layout != torch.strided


def _serves(x: Tensor, weight: Tensor) -> bool:
    """True where oneDNN computes it: what is ordered, and on a CPU what asks for no gradient."""
    return is_ordered(weight) or (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
    )


class Linear(nn.Linear):
    """A linear whose product is `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """(…, in_features) -> (…, out_features)."""
        return linear(input, self.weight, self.bias)


def use(model: Any) -> Any:
    """Have every linear of `model` compute by `linear`. Its weights stay as they are."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return model


def reads(module: nn.Module) -> bool:
    """True where the product of a module is `linear`, which may read an `ordered` weight."""
    return isinstance(module, Linear)


def order_weights(*models: Any) -> None:
    """Put the weights of all linears in order: from here on the models are run, not edited.

    What models share they go on sharing. A weight that an embedding shares is kept twice.
    """
    found: dict[Tensor, nn.Parameter] = {}
    for model in models:
        for module in model.modules():
            if reads(module):
                plain = module.weight
                if plain not in found:
                    found[plain] = nn.Parameter(ordered(plain.detach()), requires_grad=False)
                module.weight = found[plain]
