"""Asymmetric min-max quantization of weights in groups of consecutive inputs.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", Eq. 1: weight = scale (code - zero_point).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from prunescope import finite

SMALLEST_FLOAT16_SCALE = 2.0**-17
"""The smallest scale that is stored in float16, with at least 8 significant bits."""


class Grid(NamedTuple):
    """Scales and zero points, which define the values that the weights of each group can have.

    Attributes
    ----------
    zero_points : (out, groups) uint8, the integer codes of zero.
    scales : (out, groups) float16, or float32 for a whole tensor if a scale is outside the range of
        float16.
    """

    zero_points: Tensor
    scales: Tensor


def check(in_features: int, bits: int, group_size: int) -> None:
    """Raise ValueError if a linear with `in_features` inputs cannot be quantized in this way.

    Parameters
    ----------
    in_features : number of inputs.
    bits : bits per weight.
    group_size : consecutive inputs that share a scale and a zero point.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits}; a quantized weight has from 2 to 8.")
    if group_size < 1 or in_features % group_size:
        raise ValueError(
            f"group_size {group_size} does not divide the {in_features} inputs of a linear. Choose "
            f"one that divides those of every linear; of {in_features} the largest power of two "
            f"that does is {in_features & -in_features}."
        )


def min_max_grid(weight: Tensor, bits: int, group_size: int, shrink: Tensor | float = 1.0) -> Grid:
    """The grid of evenly spaced values over the range of each group, with zero among them.

    scale = (max - min) / (2^bits - 1), rounded up, so that the distance of each weight from the
    nearest value is at most half the stored scale; zero_point = round(-min / scale). The scale of a
    group of zeros is 1.

    Parameters
    ----------
    weight : (out, in) float32.
    bits : bits per weight.
    group_size : a divisor of in.
    shrink : (out, groups) or one number, from 0.5 to 1, the share of the range that is covered.
    """
    groups = weight.unflatten(-1, (-1, group_size))
    low, high = (finite.checked(part, "weights") for part in groups.aminmax(dim=-1))
    low, high = low.clamp(max=0), high.clamp(min=0)
    steps = (high - low) / (2**bits - 1)
    all_zero = steps == 0
    fits_float16 = bool((all_zero | (steps >= SMALLEST_FLOAT16_SCALE)).all()) and bool(
        (steps <= torch.finfo(torch.float16).max).all()
    )
    steps = (steps * shrink).masked_fill(all_zero, 1)
    scales = _rounded_up_to_float16(steps) if fits_float16 else steps
    zero_points = (-low * shrink / scales.float()).round()
    return Grid(zero_points.to(torch.uint8), scales)


def codes_of(weight: Tensor, grid: Grid, bits: int) -> Tensor:
    """The integer code of the value nearest to each weight, (out, in) -> (out, in) float32.

    Parameters
    ----------
    weight : (out, in), the weights.
    grid : scales and zero points of the groups.
    bits : number of bits per code.
    """
    zero_points, scales = (part.float().unsqueeze(-1) for part in grid)
    codes: Tensor = weight.unflatten(-1, (scales.shape[-2], -1)) / scales
    return codes.round_().add_(zero_points).clamp_(0, 2**bits - 1).flatten(-2)


def dequantized(codes: Tensor, grid: Grid) -> Tensor:
    """The weights of integer codes, scale (code - zero_point), (out, in) -> (out, in) float32."""
    zero_points, scales = (part.float().unsqueeze(-1) for part in grid)
    centred: Tensor = codes.unflatten(-1, (scales.shape[-2], -1)) - zero_points
    return centred.mul_(scales).flatten(-2)


def output_error(delta: Tensor, hessian: Tensor) -> Tensor:
    """Squared change of the outputs, |δ X|² = δ H δᵀ, for each row δ of a change of the weights.

    Parameters
    ----------
    delta : (…, out, in), the change of the weights.
    hessian : H, (…, in, in), X Xᵀ over the calibration inputs X.

    Returns
    -------
    (…, out)
    """
    error: Tensor = torch.linalg.vecdot(delta @ hessian, delta)
    return error


def _rounded_up_to_float16(positive: Tensor) -> Tensor:
    """The smallest float16 that is not below each number."""
    half = positive.half()
    # The next larger float16 is the next bit pattern.
    return (half.view(torch.int16) + (half.float() < positive)).view(torch.float16)
