"""SparseGPT: what is removed is made up for by the weights that stay.

Frantar & Alistarh 2023, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
Algorithm 1.
"""

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from prunescope.compression import masks
from prunescope.compression.blockwise import BlockWalk, Calibration, Group
from prunescope.compression.hessians import Hessian, inverse_factor
from prunescope.model.edits import Edit
from prunescope.model.replacements import Survivors

_COLUMNS = 128
"""Columns that share a threshold (the paper's lazy batch)."""

_INNER = 16
"""Columns updated one by one before a product updates the rest of the batch."""


def compress(
    model: Any,
    calibration: Calibration,
    *,
    sparsity: float | None = None,
    pattern: str | None = None,
) -> tuple[Edit, pa.Table]:
    """Remove the weights of least w²/U_jj², column by column, and adjust those to the right.

    H = XᵀX over the inputs of a linear, with 1 % of its mean diagonal added; U is the upper
    Cholesky factor of H⁻¹, so that U_jj² = [(H_{j:,j:})⁻¹]₀₀. A removed w_j leaves the error
    e = w_j/U_jj, and every later column k of its row loses e U_jk. Linears that read one input
    share H and U. Masks depend on the order of sums: threads are fixed by the job and recorded.

    An input that is always zero has only the damping λ in H (the authors give it 1 and clear its
    weights, which may exceed the share). No w²/U_jj² is less than its λ w²: at equal magnitude its
    weights go first, at no cost, and counts stay exact.

    Parameters
    ----------
    sparsity : share of zeros; the threshold is that of each batch of 128 columns of a linear.
    pattern : "n:m" instead: n kept of every m consecutive inputs, chosen when their turn comes.
    """
    walk = BlockWalk(model, calibration, Hessian)
    for block in walk:
        for group in block.groups:
            pruned = _prune(group, inverse_factor(group.inputs.matrix()), sparsity, pattern)
            for linear, (weight, keep, importance) in zip(group.linears, pruned, strict=True):
                survivors = Survivors.of_weight(weight.to(linear.weight.dtype), keep)
                block.replace(linear, survivors, importance)
    return walk.result("sparsegpt")


@dataclass
class _Choice:
    """Which weights stay: n of every m columns, or all but a share of each linear's batch."""

    sparsity: float | None
    n: int
    m: int
    """Columns chosen together: the pattern's, or a batch."""
    sizes: list[int]
    """Rows of each linear among those stacked."""

    def keep_mask(self, importance: Tensor) -> Tensor:
        """Of columns chosen together, (columns, rows) -> (columns, rows) bool."""
        if self.sparsity is None:
            return masks.keep_n_of_m(importance.T, self.n, self.m).T
        parts = importance.split(self.sizes, dim=1)
        return torch.cat([_keep_largest(part, self.sparsity) for part in parts], dim=1)


def _keep_largest(importance: Tensor, sparsity: float) -> Tensor:
    """Keep-mask by one threshold."""
    flat = importance.flatten()
    kept = masks.n_kept(len(flat), sparsity)
    return masks.keep_n_of_m(flat, kept, len(flat)).view_as(importance)


def _prune(
    group: Group, factor: Tensor, sparsity: float | None, pattern: str | None
) -> list[tuple[Tensor, Tensor, float]]:
    """Adjusted weight, keep-mask and mean importance of each linear of a group, pruned as one."""
    sizes = [len(linear.weight) for linear in group.linears]
    n, m = masks.groups_of(group.in_features, sparsity, pattern)
    choice = _Choice(sparsity, n, m if pattern else _COLUMNS, sizes)
    batch, inner = (_whole(_COLUMNS, m), _whole(_INNER, m)) if pattern else (_COLUMNS, _INNER)

    columns = torch.cat([linear.weight.float() for linear in group.linears]).T.contiguous()
    keep = torch.empty_like(columns, dtype=torch.bool)
    importance = torch.zeros(columns.shape[1], dtype=torch.float64, device=columns.device)
    for start in range(0, len(columns), batch):
        here = slice(start, min(start + batch, len(columns)))
        errors, keep[here], ranked = _prune_batch(columns[here], factor[here, here], choice, inner)
        columns[here.stop :].addmm_(factor[here, here.stop :].T, errors, alpha=-1)
        importance += ranked
    weights, kept = columns.T.contiguous(), keep.T.contiguous()  # whole: slices copy 5 times slower
    means = [float(part.mean()) for part in (importance / len(columns)).split(sizes)]
    return list(zip(weights.split(sizes), kept.split(sizes), means, strict=True))


def _prune_batch(
    columns: Tensor, factor: Tensor, choice: _Choice, inner: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Errors, keep-mask and summed importance of a batch of columns, which are updated in place.

    Parameters
    ----------
    columns : (columns, rows), the transposed weights. factor : (columns, columns), its part of U.
    """
    scale = factor.diagonal().unsqueeze(-1)
    errors = torch.empty_like(columns)
    keep = torch.empty_like(columns, dtype=torch.bool)
    dropped = torch.empty_like(columns)
    importance = torch.empty_like(columns)

    column, error, drop = columns.unbind(), errors.unbind(), dropped.unbind()
    for start in range(0, len(columns), inner):
        stop = min(start + inner, len(columns))
        for j in range(start, stop):
            if j % choice.m == 0:
                some = slice(j, j + choice.m)
                torch.div(columns[some], scale[some], out=importance[some]).square_()
                keep[some] = choice.keep_mask(importance[some])
                torch.div(~keep[some], scale[some], out=dropped[some])
            torch.mul(column[j], drop[j], out=error[j])
            columns[j + 1 : stop].addr_(factor[j, j + 1 : stop], error[j], alpha=-1)
        columns[stop:].addmm_(factor[start:stop, stop:].T, errors[start:stop], alpha=-1)
    return errors, keep, importance.sum(0, dtype=torch.float64)


def _whole(columns: int, m: int) -> int:
    """The least multiple of m that is not below `columns`."""
    return m * math.ceil(columns / m)
