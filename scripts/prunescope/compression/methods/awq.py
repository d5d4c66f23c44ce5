"""AWQ: scale up the weights of important inputs before rounding, so that they lose less precision.

Lin et al. 2024, "AWQ: Activation-aware Weight Quantization for On-Device LLM Compression and
Acceleration", Eq. 4 and 5.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from prunescope import finite
from prunescope.compression import quantization
from prunescope.compression.blockwise import BlockWalk, Calibration, Group
from prunescope.compression.hessians import Hessian
from prunescope.compression.quantization import Grid
from prunescope.model.edits import Edit
from prunescope.model.replacements import Quantized

ALPHAS = tuple(step / 20 for step in range(20))
"""Exponents that are tried, the 20 of the authors; 0 means rounding without scales."""

SHRINKS = tuple(1 - 0.5 * step / 19 for step in range(20))
"""Shares of the range of a group that are tried for clipping, from 1 to a half."""

_LEAST_SCALE = 1e-4
"""Smallest input scale relative to the largest one; inputs that are always zero get it."""

_WEIGHTS_PER_CHUNK = 2**18
"""Number of weights that are rounded at a time, so that they stay in the cache of the processor."""

_LEAST_ROWS_PER_CHUNK = 256
"""Least number of rows at a time, because matrix products of fewer rows are slow."""


class _InputStatistic:
    """XᵀX of a linear's inputs X, and Σ|x_j| over tokens for each input j.

    The sum stands for the mean, because the normalisation of scales removes constant factors.
    """

    def __init__(self, in_features: int, device: torch.device) -> None:
        self._hessian = Hessian(in_features, device)
        self._magnitudes = torch.zeros(in_features, dtype=torch.float64, device=device)

    def add(self, x: Tensor) -> None:
        """Add the inputs of some tokens, (tokens, in_features)."""
        self._hessian.add(x)
        wide = torch.promote_types(x.dtype, torch.float32)
        self._magnitudes += x.abs().sum(0, dtype=wide)  # 10 times faster than a 1-norm

    def merge(self, other: "_InputStatistic") -> None:
        """Add the sums of another instance."""
        self._hessian.merge(other._hessian)
        self._magnitudes += other._magnitudes

    def hessian(self) -> Tensor:
        """XᵀX, (in_features, in_features) float32."""
        return self._hessian.matrix()

    def scales(self, alpha: float) -> Tensor | None:
        """Input scales s = (mean |x_j|)^alpha, divided by sqrt(max s · min s).

        Returns (in_features,) float16, or None for alpha = 0.
        """
        if not alpha:
            return None
        largest = self._magnitudes.max().clamp(min=torch.finfo(torch.float32).tiny)
        scales = (self._magnitudes / largest).pow(alpha).clamp(min=_LEAST_SCALE)
        normalised: Tensor = scales / (scales.max() * scales.min()).sqrt()
        return normalised.half()

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        """Bytes of the sums, and of six temporary tensors of the size of a chunk of rows."""
        sums = Hessian.memory(in_features, workers) + 8 * in_features * workers
        return sums + 6 * 4 * _rows_per_chunk(in_features) * in_features


@dataclass(frozen=True)
class _ScaledWeight:
    """The weight of a linear, multiplied by input scales and not yet rounded.

    Attributes
    ----------
    dense : W, (out, in), in the dtype of the model.
    scales : s, (in,) float16; None for no scales.
    weight : W s, (out, in) float32.
    """

    dense: Tensor
    scales: Tensor | None
    weight: Tensor

    @classmethod
    def by(cls, dense: Tensor, scales: Tensor | None) -> "_ScaledWeight":
        """Scale the dense weight."""
        weight = dense.float()
        return cls(dense, scales, weight if scales is None else weight * scales.float())

    def chunks(self, *others: Tensor) -> Iterator[tuple[Any, ...]]:
        """Chunks of rows, each with the same rows of other tensors, (out, …) each."""
        chunk_size = _rows_per_chunk(self.dense.shape[-1])
        for start in range(0, len(self.dense), chunk_size):
            rows = slice(start, start + chunk_size)
            chunk = _ScaledWeight(self.dense[rows], self.scales, self.weight[rows])
            yield chunk, *(tensor[rows] for tensor in others)

    def delta(self, grid: Grid, bits: int) -> Tensor:
        """The change Ŵ - W of the weight by rounding, (out, in) float32.

        Ŵ is bit for bit the weight that is later read from disk.
        """
        rounded = quantization.dequantized(quantization.codes_of(self.weight, grid, bits), grid)
        if self.scales is not None:
            rounded /= self.scales.float()
        return rounded.to(self.dense.dtype).float().sub_(self.dense)

    def errors(self, grid: Grid, bits: int, hessian: Tensor) -> Tensor:
        """Output error |(Ŵ - W) X|² of each row, (out,) float32.

        Parameters
        ----------
        grid, bits : how the weight is rounded.
        hessian : (in, in), XᵀX.
        """
        return torch.cat(
            [
                quantization.output_error(chunk.delta(Grid(*chunk_grid), bits), hessian)
                for chunk, *chunk_grid in self.chunks(*grid)
            ]
        )


def compress(
    model: Any, calibration: Calibration, *, bits: int, group_size: int, clip: bool = False
) -> tuple[Edit, pa.Table]:
    """Round W s to the nearest of 2^bits values per group, and divide the result by s.

    Linears that read the same input share the scales s = (mean |x_j|)^alpha, normalised like those
    of the authors. The chosen alpha, out of 20 in [0, 1), minimises Σ |(Ŵ - W) X|² over these
    linears and all calibration inputs, where Ŵ is the weight as it is stored. With alpha = 0 all
    scales are 1, which is rounding to nearest. No error is therefore larger than that of `rtn`.

    There are three differences from the published method. The authors measure the error at the
    output of the sublayer instead of the outputs of the linears. They multiply the preceding module
    by 1/s, while here s is stored with the integers and no other module changes. They limit s from
    below to 1e-4, here the limit is 1e-4 of the largest s, so that it does not depend on the unit
    of x.

    Parameters
    ----------
    model : the dense model.
    calibration : the calibration text.
    bits : bits per quantized weight, from 2 to 8.
    group_size : consecutive inputs of a row that share a scale and a zero point.
    clip : whether to narrow the range of each group as well, at most to a half, by the factor that
        minimises the error of this group alone. Rows whose total error does not decrease keep the
        whole range.
    """
    walk = BlockWalk(model, calibration, _InputStatistic)
    for block in walk:
        for group in block.groups:
            quantization.check(group.in_features, bits, group_size)
            hessian = group.inputs.hessian()
            scales = _best_scales(group, hessian, bits, group_size)
            for linear in group.linears:
                scaled = _ScaledWeight.by(linear.weight, scales)
                shrink = _best_shrink(scaled, hessian, bits, group_size) if clip else 1.0
                grid = quantization.min_max_grid(scaled.weight, bits, group_size, shrink)
                codes = quantization.codes_of(scaled.weight, grid, bits)
                replacement = Quantized.by(
                    codes, *grid, bits=bits, group_size=group_size, input_scales=scales
                )
                block.replace(linear, replacement)
    return walk.result("awq")


def _best_scales(group: Group, hessian: Tensor, bits: int, group_size: int) -> Tensor | None:
    """The input scales with the least output error, summed over the linears of the group."""

    def error(scales: Tensor | None) -> float:
        total = 0.0
        for linear in group.linears:
            scaled = _ScaledWeight.by(linear.weight, scales)
            grid = quantization.min_max_grid(scaled.weight, bits, group_size)
            total += float(scaled.errors(grid, bits, hessian).sum(dtype=torch.float64))
        return finite.checked(total, f"output errors in the search for scales of {group.names[0]}")

    candidates: list[Tensor | None] = [group.inputs.scales(alpha) for alpha in ALPHAS]
    return min(candidates, key=error)


def _best_shrink(scaled: _ScaledWeight, hessian: Tensor, bits: int, group_size: int) -> Tensor:
    """Share of each group's range to cover, (out, groups); 1 in rows whose error does not decrease.

    Each group minimises its own term of the error, d H_gg dᵀ, where d is the change of its weights
    and H_gg the block of H on the diagonal that belongs to the group.
    """
    sizes = (-1, group_size)
    blocks = (
        hessian.unflatten(0, sizes).unflatten(-1, sizes).diagonal(dim1=0, dim2=2).movedim(-1, 0)
    )
    best_of_chunks = []
    for (chunk,) in scaled.chunks():
        best = torch.ones(len(chunk.dense), len(blocks), device=hessian.device)
        least_error = torch.full_like(best, torch.inf)
        for shrink in SHRINKS:
            grid = quantization.min_max_grid(chunk.weight, bits, group_size, shrink)
            delta = chunk.delta(grid, bits).unflatten(-1, sizes).transpose(0, 1)
            error = quantization.output_error(delta, blocks).T
            best = torch.where(error < least_error, shrink, best)
            least_error = torch.minimum(error, least_error)
        best_of_chunks.append(best)
    narrowed = torch.cat(best_of_chunks)
    whole_error, narrowed_error = (
        scaled.errors(
            quantization.min_max_grid(scaled.weight, bits, group_size, shrink), bits, hessian
        )
        for shrink in (1.0, narrowed)
    )
    return narrowed.where((narrowed_error < whole_error).unsqueeze(-1), 1.0)


def _rows_per_chunk(in_features: int) -> int:
    return max(_LEAST_ROWS_PER_CHUNK, _WEIGHTS_PER_CHUNK // in_features)
