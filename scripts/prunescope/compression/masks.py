"""Keep-masks from importances: unstructured, or n of every m consecutive inputs."""

import math

import numpy as np
import torch
from torch import Tensor

from prunescope import finite
from prunescope.compression import patterns

LARGEST_COMPARED_GROUP = 16
"""Largest m for which weights of a group are compared pairwise, which is faster than sorting."""


def n_kept(size: int, sparsity: float) -> int:
    """Number of weights, of `size` in total, that survive; floor(sparsity * size) are removed.

    Raises ValueError unless 0 <= sparsity <= 1.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is {sparsity}; it is the fraction of zeros, from 0 to 1.")
    return size - math.floor(sparsity * size + 1e-9)  # 0.29 * 100 is 28.999999999999996


def groups_of(in_features: int, sparsity: float | None, pattern: str | None) -> tuple[int, int]:
    """Return (n, m), which means that n of every m consecutive inputs are kept.

    Parameters
    ----------
    in_features : number of inputs of a row of weights.
    sparsity : share of zeros, for which m is the whole row; None if a pattern is given.
    pattern : "n:m"; None if a sparsity is given.

    Raises
    ------
    ValueError
        unless exactly one of sparsity and pattern is given, or if m does not divide in_features.
    """
    if (sparsity is None) == (pattern is None):
        raise ValueError(
            f"sparsity is {sparsity} and pattern {pattern}: give one of them, the share of zeros "
            "or n:m."
        )
    if pattern is None:
        assert sparsity is not None
        return n_kept(in_features, sparsity), in_features
    n, m = patterns.parse(pattern)
    if in_features % m:
        raise ValueError(
            f"pattern {pattern} needs a multiple of {m} inputs, but a linear has {in_features}. "
            "Choose another pattern."
        )
    return n, m


def keep_n_of_m(importance: Tensor, n: int, m: int, then_by: Tensor | None = None) -> Tensor:
    """Keep-mask of the n largest of every m consecutive inputs; True if the weight survives.

    Each row is ranked separately, which is Wanda's comparison group (Sun et al. 2024).

    Parameters
    ----------
    importance : (…, in_features).
    n, m : m divides in_features. An unstructured sparsity s is the case m = in_features with
        n = m - floor(s m).
    then_by : (…, in_features), ranks weights of equal importance, largest first. If it is equal as
        well, or None, the earlier input is kept.

    Returns
    -------
    (…, in_features) bool.

    Raises
    ------
    NotFinite
        if an importance is not finite.
    """
    finite.checked(importance, "importances")
    groups = importance.unflatten(-1, (-1, m))
    second_key = None if then_by is None else then_by.unflatten(-1, (-1, m))
    if n in (0, m):
        keep = torch.full_like(groups, n == m, dtype=torch.bool)
    elif m <= LARGEST_COMPARED_GROUP:
        keep = _ranks(groups, second_key) < n
    else:
        keep = _above_threshold(groups, n, second_key)
    return keep.flatten(-2)


def _ranks(groups: Tensor, second_key: Tensor | None) -> Tensor:
    """Rank of each weight in its group, from 0 for the largest, (…, m) -> (…, m) uint8.

    At the start, the rank of each weight is its position, as if all earlier weights were larger.
    Each pair whose later weight is in fact larger then exchanges one rank.
    """
    columns = groups.unbind(-1)
    second_columns = second_key.unbind(-1) if second_key is not None else None
    ranks = [torch.full_like(c, position, dtype=torch.uint8) for position, c in enumerate(columns)]
    for later in range(1, len(columns)):
        for earlier in range(later):
            is_larger = columns[later] > columns[earlier]
            if second_columns is not None:
                is_equal = columns[later] == columns[earlier]
                is_larger |= is_equal & (second_columns[later] > second_columns[earlier])
            exchange = is_larger.view(torch.uint8)  # the dtype of ranks needs no conversion
            ranks[earlier] += exchange
            ranks[later] -= exchange
    return torch.stack(ranks, -1)


def _above_threshold(groups: Tensor, n: int, second_key: Tensor | None) -> Tensor:
    """Keep-mask of the n largest weights of each group, (groups, m) -> (groups, m) bool.

    All weights above the n-th largest are kept. If several are equal to it, those with the largest
    second key are kept, then the first ones.
    """
    threshold = _order_statistic(groups, groups.shape[-1] - n)
    keep = groups >= threshold
    tied = keep.sum(-1) > n
    if tied.any():
        tied_groups = groups[tied]
        equal = tied_groups == threshold[tied]
        n_left = n - (keep[tied] & ~equal).sum(-1, keepdim=True)
        if second_key is not None:
            keys = second_key[tied].masked_fill(~equal, -torch.inf)
            order = keys.argsort(stable=True, descending=True)
            is_kept = torch.arange(tied_groups.shape[-1], device=tied_groups.device) < n_left
            equal = torch.zeros_like(equal).scatter_(-1, order, is_kept)
        keep[tied] = (tied_groups > threshold[tied]) | (equal & (equal.cumsum(-1) <= n_left))
    return keep


def _order_statistic(groups: Tensor, index: int) -> Tensor:
    """The element at `index` of each group in ascending order, (…, m) -> (…, 1).

    On a CPU numpy computes it, four times faster than torch.
    """
    if groups.is_cuda or groups.dtype == torch.bfloat16:
        return groups.kthvalue(index + 1, dim=-1, keepdim=True).values
    return torch.from_numpy(np.partition(groups.numpy(), index)[..., index : index + 1])
