"""Matrix products of linears, x Wᵀ + b, near the peak speed of a CPU.

torch computes float32 products with MKL, which on AMD processors stays a tenth below the peak
speed, and a third below it if x has few rows. oneDNN, another library contained in torch, comes
closer to the peak, above all if the weight is stored in the order in which its loops read it
(`make bench`). This module therefore calls oneDNN for float32 products on a CPU, through the
operators that torch's own compiler inserts in place of a linear. These operators are internal to
torch, whose version is pinned. All other products are computed by torch as usual.

`use` makes the linears of a model compute with `linear`. `order_weights` additionally converts
their weights to oneDNN's order, which is possible once the weights are no longer edited: a tensor
in that order can be multiplied, but not indexed.
"""

from typing import Any

import torch
from torch import Tensor, nn

_OPERATORS = torch.ops.mkldnn

_ROWS_PER_PRODUCT = 64
"""Number of rows that `linear_into` computes at a time before copying them to their destination."""

_TYPICAL_ROWS = 128
"""Number of rows for which oneDNN orders a weight; the order is the same for all from 16 on."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x Wᵀ + b.

    Parameters
    ----------
    x : (…, in_features).
    weight : W, (out_features, in_features); it may be a result of `ordered`.
    bias : b, (out_features,), or None.

    Returns
    -------
    Tensor of shape (…, out_features).
    """
    if _onednn_computes(x, weight):
        product: Tensor = _OPERATORS._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return nn.functional.linear(x, weight, bias)


def linear_into(out: Tensor, x: Tensor, weight: Tensor) -> None:
    """Compute x Wᵀ and write it to existing memory.

    Parameters
    ----------
    out : (rows, out_features), is overwritten.
    x : (rows, in_features).
    weight : W, (out_features, in_features); it may be a result of `ordered`.
    """
    if _onednn_computes(x, weight):
        for x_rows, out_rows in zip(
            x.split(_ROWS_PER_PRODUCT), out.split(_ROWS_PER_PRODUCT), strict=True
        ):
            out_rows.copy_(linear(x_rows, weight))
    else:
        torch.mm(x, weight.T, out=out)


def ordered(weight: Tensor) -> Tensor:
    """Copy a weight into the order in which oneDNN reads it; returned as is if oneDNN is not used.

    The copy has no strides: `linear` can multiply with it, but it cannot be indexed.
    """
    if not _onednn_computes(weight, weight):
        return weight
    copy: Tensor = _OPERATORS._reorder_linear_weight(weight, _TYPICAL_ROWS)
    return copy


def is_ordered(weight: Tensor) -> bool:
    """Whether a weight is a copy in oneDNN's order, made by `ordered`."""
    return weight.layout != torch.strided


def _onednn_computes(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN computes the product: if ordered, or float32 on a CPU without gradients."""
    return is_ordered(weight) or (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
    )


class OrderedLinear(nn.Linear):
    """An `nn.Linear` that computes its product with `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (…, in_features) to (…, out_features)."""
        return linear(input, self.weight, self.bias)


def use(model: Any) -> Any:
    """Make every linear of `model` compute with `linear`, without changing its weights."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = OrderedLinear
    return model


def reads(module: nn.Module) -> bool:
    """Whether a module computes with `linear`, so that its weight may be `ordered`."""
    return isinstance(module, OrderedLinear)


def order_weights(*models: Any) -> None:
    """Convert the weights of all linears to oneDNN's order; the models cannot be edited afterwards.

    Models that share a weight share the converted one too. If an embedding shares the weight of a
    linear, both versions are kept in memory.
    """
    ordered_parameters: dict[Tensor, nn.Parameter] = {}
    for model in models:
        for module in model.modules():
            if reads(module):
                weight = module.weight
                if weight not in ordered_parameters:
                    ordered_parameters[weight] = nn.Parameter(
                        ordered(weight.detach()), requires_grad=False
                    )
                module.weight = ordered_parameters[weight]
