"""AWQ: inputs that matter are scaled up before rounding, so their weights lose less.

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
"""Exponents tried, the authors' 20 from 0 (plain rounding) up."""

SHRINKS = tuple(1 - 0.5 * step / 19 for step in range(20))
"""Parts of a group's range tried by clipping, from all of it to half."""

_FLOOR = 1e-4
"""Of the largest input scale, the least: what dead inputs get."""

_ENTRIES_TOGETHER = 2**18
"""Weights rounded at once, so that they stay in the processor's cache."""

_ROWS_TOGETHER = 256
"""Rows at once, at least: fewer make a slow matrix product."""


class _Inputs:
    """XᵀX of a linear's inputs, and Σ|x_j|: the mean up to a factor the normalisation removes."""

    def __init__(self, in_features: int, device: torch.device) -> None:
        self._hessian = Hessian(in_features, device)
        self._magnitudes = torch.zeros(in_features, dtype=torch.float64, device=device)

    def add(self, x: Tensor) -> None:
        """Add some tokens, (tokens, in_features)."""
        self._hessian.add(x)
        wide = torch.promote_types(x.dtype, torch.float32)
        self._magnitudes += x.abs().sum(0, dtype=wide)  # 10 times faster than its 1-norm

    def merge(self, other: "_Inputs") -> None:
        """Add what another has summed."""
        self._hessian.merge(other._hessian)
        self._magnitudes += other._magnitudes

    def hessian(self) -> Tensor:
        """(in_features, in_features) float32."""
        return self._hessian.matrix()

    def scales(self, alpha: float) -> Tensor | None:
        """s = (mean |x_j|)^alpha, divided by sqrt(max s · min s), float16; None for alpha = 0."""
        if not alpha:
            return None
        largest = self._magnitudes.max().clamp(min=torch.finfo(torch.float32).tiny)
        scales = (self._magnitudes / largest).pow(alpha).clamp(min=_FLOOR)
        normalised: Tensor = scales / (scales.max() * scales.min()).sqrt()
        return normalised.half()

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        """Bytes of the sums, and of the six temporaries of the rows rounded together."""
        sums = Hessian.memory(in_features, workers) + 8 * in_features * workers
        return sums + 6 * 4 * _rows_together(in_features) * in_features


@dataclass(frozen=True)
class _Scaled:
    """A linear's weight with its inputs scaled, ready to be rounded.

    Attributes
    ----------
    dense : (out, in), the model's own. scales : (in,) float16, s; None for none.
    weight : (out, in) float32, W s.
    """

    dense: Tensor
    scales: Tensor | None
    weight: Tensor

    @classmethod
    def by(cls, dense: Tensor, scales: Tensor | None) -> "_Scaled":
        weight = dense.float()
        return cls(dense, scales, weight if scales is None else weight * scales.float())

    def parts(self, *alike: Tensor) -> Iterator[tuple[Any, ...]]:
        """A few rows at a time, and the same rows of other tensors."""
        rows = _rows_together(self.dense.shape[-1])
        for start in range(0, len(self.dense), rows):
            some = slice(start, start + rows)
            part = _Scaled(self.dense[some], self.scales, self.weight[some])
            yield part, *(tensor[some] for tensor in alike)

    def delta(self, grid: Grid, bits: int) -> Tensor:
        """Ŵ - W, Ŵ to the last bit as it comes back from disk, (out, in) float32."""
        rounded = quantization.dequantized(quantization.codes_of(self.weight, grid, bits), grid)
        if self.scales is not None:
            rounded /= self.scales.float()
        return rounded.to(self.dense.dtype).float().sub_(self.dense)

    def errors(self, grid: Grid, bits: int, hessian: Tensor) -> Tensor:
        """|(Ŵ - W) X|² of each row, (out,) float32."""
        return torch.cat(
            [
                quantization.output_error(part.delta(Grid(*some), bits), hessian)
                for part, *some in self.parts(*grid)
            ]
        )


def compress(
    model: Any, calibration: Calibration, *, bits: int, group_size: int, clip: bool = False
) -> tuple[Edit, pa.Table]:
    """Round W s to the nearest of 2^bits values per group, and divide by s again.

    Linears that share an input share s = (mean |x_j|)^alpha, normalised as the authors do. Of 20
    alphas in [0, 1) the one is taken that makes Σ |(Ŵ - W) X|² least, over all of these linears
    and all calibration inputs, Ŵ as it is stored; alpha = 0 is s = 1, plain rounding, so no error
    exceeds that of `rtn`. Three liberties: the authors measure the error at the sublayer's output,
    not at the linears'; they fold s into what comes before, here it is stored beside the integers
    and nothing else changes; their floor of s is 1e-4, here 1e-4 of the largest, whatever the
    unit of x.

    Parameters
    ----------
    bits : width of a quantized weight, from 2 to 8.
    group_size : consecutive inputs of a row that share a scale and a zero point.
    clip : also narrow each group's range, down to half, by the factor that makes its own part of
        the error least; kept in the rows whose whole error that lowers.
    """
    walk = BlockWalk(model, calibration, _Inputs)
    for block in walk:
        for group in block.groups:
            quantization.check(group.in_features, bits, group_size)
            hessian = group.inputs.hessian()
            scales = _best_scales(group, hessian, bits, group_size)
            for linear in group.linears:
                scaled = _Scaled.by(linear.weight, scales)
                shrink = _best_shrink(scaled, hessian, bits, group_size) if clip else 1.0
                grid = quantization.min_max_grid(scaled.weight, bits, group_size, shrink)
                codes = quantization.codes_of(scaled.weight, grid, bits)
                replacement = Quantized.by(
                    codes, *grid, bits=bits, group_size=group_size, input_scales=scales
                )
                block.replace(linear, replacement)
    return walk.result("awq")


def _best_scales(group: Group, hessian: Tensor, bits: int, group_size: int) -> Tensor | None:
    """The input scales of least output error, summed over the linears that share the input."""

    def error(scales: Tensor | None) -> float:
        total = 0.0
        for linear in group.linears:
            scaled = _Scaled.by(linear.weight, scales)
            grid = quantization.min_max_grid(scaled.weight, bits, group_size)
            total += float(scaled.errors(grid, bits, hessian).sum(dtype=torch.float64))
        return finite.checked(total, f"search losses of {group.names[0]}")

    candidates: list[Tensor | None] = [group.inputs.scales(alpha) for alpha in ALPHAS]
    return min(candidates, key=error)


def _best_shrink(scaled: _Scaled, hessian: Tensor, bits: int, group_size: int) -> Tensor:
    """How far to narrow the range of each group, (out, groups); 1 in rows that gain nothing.

    A group's own part of a row's error is d H_gg dᵀ, H_gg its block on the diagonal of H.
    """
    sizes = (-1, group_size)
    blocks = (
        hessian.unflatten(0, sizes).unflatten(-1, sizes).diagonal(dim1=0, dim2=2).movedim(-1, 0)
    )
    found = []
    for (part,) in scaled.parts():
        best = torch.ones(len(part.dense), len(blocks), device=hessian.device)
        least = torch.full_like(best, torch.inf)
        for shrink in SHRINKS:
            grid = quantization.min_max_grid(part.weight, bits, group_size, shrink)
            delta = part.delta(grid, bits).unflatten(-1, sizes).transpose(0, 1)
            error = quantization.output_error(delta, blocks).T
            best = torch.where(error < least, shrink, best)
            least = torch.minimum(error, least)
        found.append(best)
    narrowed = torch.cat(found)
    whole, less = (
        scaled.errors(
            quantization.min_max_grid(scaled.weight, bits, group_size, shrink), bits, hessian
        )
        for shrink in (1.0, narrowed)
    )
    return narrowed.where((less < whole).unsqueeze(-1), 1.0)


def _rows_together(in_features: int) -> int:
    return max(_ROWS_TOGETHER, _ENTRIES_TOGETHER // in_features)
