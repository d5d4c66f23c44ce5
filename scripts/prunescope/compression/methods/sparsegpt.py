"""SparseGPT: pruning in which the remaining weights compensate for the removed ones.

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

_BATCH = 128
"""Number of columns that share a threshold (the lazy batch of the paper)."""

_INNER_BATCH = 16
"""Columns that are updated one by one before a matrix product updates the rest of the batch."""


def compress(
    model: Any,
    calibration: Calibration,
    *,
    sparsity: float | None = None,
    pattern: str | None = None,
) -> tuple[Edit, pa.Table]:
    """Remove the weights with the least w²/U_jj², column by column, and update those to the right.

    H is XᵀX over the inputs of a linear, plus 1 % of its mean diagonal on the diagonal. U is the
    upper Cholesky factor of H⁻¹, so that U_jj² = [(H_{j:,j:})⁻¹]₀₀. Removing w_j causes the error
    e = w_j/U_jj, and e U_jk is subtracted from every later column k of its row. Linears that read
    the same input share H and U. The masks depend on the order of sums, therefore the number of
    threads is a setting and recorded.

    An input that is always zero has only the damping λ on the diagonal of H. (The authors set this
    element to 1 and remove all weights of the input, which may be more than the sparsity allows.)
    For other inputs w²/U_jj² is at least λ w². Of weights with equal magnitude those of such an
    input are thus removed first, without any error, and the number of zeros is exact.

    Parameters
    ----------
    model : the dense model.
    calibration : the calibration text.
    sparsity : share of zeros in each batch of 128 columns of a linear, which has a threshold of its
        own.
    pattern : "n:m", which keeps n of every m consecutive inputs, instead of a sparsity. The weights
        of a group are chosen after the update by all earlier columns.
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
class _Selection:
    """How weights are selected.

    Attributes
    ----------
    sparsity : share of zeros in a batch of columns of each linear; None for a pattern.
    n : number of weights of every m that a pattern keeps.
    m : number of columns that are selected at a time, those of a pattern or of a batch.
    sizes : number of rows of each linear; the weights of all linears of a group are stacked.
    """

    sparsity: float | None
    n: int
    m: int
    sizes: list[int]

    def keep_mask(self, importance: Tensor) -> Tensor:
        """Keep-mask of m columns, (columns, rows) -> (columns, rows) bool."""
        if self.sparsity is None:
            return masks.keep_n_of_m(importance.T, self.n, self.m).T
        parts = importance.split(self.sizes, dim=1)
        return torch.cat([_keep_largest(part, self.sparsity) for part in parts], dim=1)


def _keep_largest(importance: Tensor, sparsity: float) -> Tensor:
    """Keep-mask with a single threshold for all elements, of the shape of `importance`."""
    flat = importance.flatten()
    n_kept = masks.n_kept(len(flat), sparsity)
    return masks.keep_n_of_m(flat, n_kept, len(flat)).view_as(importance)


def _prune(
    group: Group, factor: Tensor, sparsity: float | None, pattern: str | None
) -> list[tuple[Tensor, Tensor, float]]:
    """Prune all linears of a group, with their weights stacked.

    Parameters
    ----------
    group : linears that read the same input.
    factor : U, (in_features, in_features).
    sparsity, pattern : as in `compress`.

    Returns
    -------
    Updated weight and keep-mask, (out, in) each, and mean importance of each linear.
    """
    sizes = [len(linear.weight) for linear in group.linears]
    n, m = masks.groups_of(group.in_features, sparsity, pattern)
    selection = _Selection(sparsity, n, m if pattern else _BATCH, sizes)
    batch, inner_batch = (
        (_next_multiple(_BATCH, m), _next_multiple(_INNER_BATCH, m))
        if pattern
        else (_BATCH, _INNER_BATCH)
    )

    columns = torch.cat([linear.weight.float() for linear in group.linears]).T.contiguous()
    keep = torch.empty_like(columns, dtype=torch.bool)
    importance = torch.zeros(columns.shape[1], dtype=torch.float64, device=columns.device)
    for start in range(0, len(columns), batch):
        part = slice(start, min(start + batch, len(columns)))
        errors, keep[part], batch_importance = _prune_batch(
            columns[part], factor[part, part], selection, inner_batch
        )
        columns[part.stop :].addmm_(factor[part, part.stop :].T, errors, alpha=-1)
        importance += batch_importance
    # Transposed as a whole, because copies of transposed slices are five times slower.
    weights, keep_masks = columns.T.contiguous(), keep.T.contiguous()
    means = [float(linear.mean()) for linear in (importance / len(columns)).split(sizes)]
    return list(zip(weights.split(sizes), keep_masks.split(sizes), means, strict=True))


def _prune_batch(
    columns: Tensor, factor: Tensor, selection: _Selection, inner_batch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Prune a batch of columns and update them in place.

    Parameters
    ----------
    columns : (columns, rows), the transposed weights.
    factor : (columns, columns), the part of U that belongs to them.
    selection : how weights are selected.
    inner_batch : number of columns that are updated one by one.

    Returns
    -------
    Errors e, (columns, rows), keep-mask, (columns, rows) bool, and sum of importances over columns,
    (rows,) float64.
    """
    scale = factor.diagonal().unsqueeze(-1)
    errors = torch.empty_like(columns)
    keep = torch.empty_like(columns, dtype=torch.bool)
    error_factor = torch.empty_like(columns)  # 1/U_jj for removed weights, otherwise 0
    importance = torch.empty_like(columns)

    column, error, column_factor = columns.unbind(), errors.unbind(), error_factor.unbind()
    for start in range(0, len(columns), inner_batch):
        stop = min(start + inner_batch, len(columns))
        for j in range(start, stop):
            if j % selection.m == 0:
                group = slice(j, j + selection.m)
                torch.div(columns[group], scale[group], out=importance[group]).square_()
                keep[group] = selection.keep_mask(importance[group])
                torch.div(~keep[group], scale[group], out=error_factor[group])
            torch.mul(column[j], column_factor[j], out=error[j])
            columns[j + 1 : stop].addr_(factor[j, j + 1 : stop], error[j], alpha=-1)
        columns[stop:].addmm_(factor[start:stop, stop:].T, errors[start:stop], alpha=-1)
    return errors, keep, importance.sum(0, dtype=torch.float64)


def _next_multiple(n_columns: int, m: int) -> int:
    """The smallest multiple of m that is not below `n_columns`."""
    return m * math.ceil(n_columns / m)
