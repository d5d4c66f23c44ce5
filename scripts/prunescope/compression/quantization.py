"""Weights as integers: asymmetric min-max quantization in groups of consecutive inputs.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", Eq. 1: weight = scale (code - zero_point).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from prunescope import finite

SMALLEST = 2.0**-17
"""Scales from here on keep at least 8 significant bits in float16."""


class Grid(NamedTuple):
    """The values each group of weights can take, as they are stored.

    Attributes
    ----------
    zero_points : (out, groups) uint8, the codes that stand for zero.
    scales : (out, groups) float16; float32 for a whole tensor where float16 would not do.
    """

    zero_points: Tensor
    scales: Tensor


def check(in_features: int, bits: int, group_size: int) -> None:
    """Raise ValueError where a linear of so many inputs cannot be quantized like this."""
    if not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits}; a quantized weight has from 2 to 8.")
    if group_size < 1 or in_features % group_size:
        raise ValueError(
            f"group_size {group_size} does not divide the {in_features} inputs of a linear. Choose "
            f"one that divides those of every linear; of {in_features} the largest power of two "
            f"that does is {in_features & -in_features}."
        )


def min_max_grid(weight: Tensor, bits: int, group_size: int, shrink: Tensor | float = 1.0) -> Grid:
    """Evenly spaced values over each group's range, zero among them.

    scale = (max - min) / (2^bits - 1), rounded up, so that no weight lies more than half a stored
    scale from a value; zero_point = round(-min / scale). A group of zeros has the scale 1.

    Parameters
    ----------
    weight : (out, in) float32. group_size : divides in.
    shrink : (out, groups) or one number, from 0.5 to 1: the part of the range that is covered.
    """
    groups = weight.unflatten(-1, (-1, group_size))
    low, high = (finite.checked(part, "weights") for part in groups.aminmax(dim=-1))
    low, high = low.clamp(max=0), high.clamp(min=0)
    steps = (high - low) / (2**bits - 1)
    empty = steps == 0
    narrow = bool((empty | (steps >= SMALLEST)).all()) and bool(
        (steps <= torch.finfo(torch.float16).max).all()
    )
    steps = (steps * shrink).masked_fill(empty, 1)
    scales = _half_rounded_up(steps) if narrow else steps
    zero_points = (-low * shrink / scales.float()).round()
    return Grid(zero_points.to(torch.uint8), scales)


def codes_of(weight: Tensor, grid: Grid, bits: int) -> Tensor:
    """The integer of the nearest value of the grid, (out, in) -> (out, in) float32."""
    zero_points, scales = (part.float().unsqueeze(-1) for part in grid)
    codes: Tensor = weight.unflatten(-1, (scales.shape[-2], -1)) / scales
    return codes.round_().add_(zero_points).clamp_(0, 2**bits - 1).flatten(-2)


def dequantized(codes: Tensor, grid: Grid) -> Tensor:
    """The values integers stand for, scale (code - zero_point), (out, in) -> (out, in) float32."""
    zero_points, scales = (part.float().unsqueeze(-1) for part in grid)
    centred: Tensor = codes.unflatten(-1, (scales.shape[-2], -1)) - zero_points
    return centred.mul_(scales).flatten(-2)


def output_error(delta: Tensor, hessian: Tensor) -> Tensor:
    """What a change of the weights does to the outputs: |δ X|² of each row δ, as δ H δᵀ.

    Parameters
    ----------
    delta : (…, out, in). hessian : (…, in, in), X Xᵀ over the calibration inputs.

    Returns
    -------
    (…, out)
    """
    error: Tensor = torch.linalg.vecdot(delta @ hessian, delta)
    return error


def _half_rounded_up(positive: Tensor) -> Tensor:
    """The least float16 not below each number: one bit pattern further where rounding went down."""
    half = positive.half()
    return (half.view(torch.int16) + (half.float() < positive)).view(torch.float16)
