"""From importances to keep-masks: unstructured, or n of every m consecutive inputs."""

import math

import numpy as np
import torch
from torch import Tensor

from prunescope import finite
from prunescope.compression import patterns

RANKED_BY_COMPARISON = 16
"""Up to this m, weights of a group are ranked against each other: faster than sorting them."""


def n_kept(size: int, sparsity: float) -> int:
    """Of `size` weights, how many survive: floor(sparsity * size) are removed.

    Raises ValueError unless 0 <= sparsity <= 1.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is {sparsity}; it is the fraction of zeros, from 0 to 1.")
    return size - math.floor(sparsity * size + 1e-9)  # 0.29 * 100 is 28.999999999999996


def groups_of(in_features: int, sparsity: float | None, pattern: str | None) -> tuple[int, int]:
    """(n, m): n of every m consecutive inputs are kept; m is the whole row for a sparsity.

    Raises ValueError unless exactly one of the two is given, or where m does not divide.
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
    """Keep-mask with the n largest of every m consecutive inputs; True where the weight survives.

    Parameters
    ----------
    importance : (…, in_features), larger is worth more; m divides in_features. Rows are ranked one
        by one, Wanda's comparison group (Sun et al. 2024). Unstructured sparsity s is the case
        m = in_features, n = m - floor(s m).
    then_by : ranks weights of equal importance, largest first; then the first input wins.

    Returns
    -------
    (…, in_features) bool
    """
    finite.checked(importance, "importances")
    groups = importance.unflatten(-1, (-1, m))
    second = None if then_by is None else then_by.unflatten(-1, (-1, m))
    if n in (0, m):
        keep = torch.full_like(groups, n == m, dtype=torch.bool)
    elif m <= RANKED_BY_COMPARISON:
        keep = _outranked(groups, second) < n
    else:
        keep = _above_threshold(groups, n, second)
    return keep.flatten(-2)


def _outranked(groups: Tensor, second: Tensor | None) -> Tensor:
    """How many of its group outrank each weight, (…, m) -> (…, m) uint8.

    At first each is outranked by all that come earlier; a win over one of them takes that back.
    """
    columns = groups.unbind(-1)
    seconds = second.unbind(-1) if second is not None else None
    ranks = [torch.full_like(c, place, dtype=torch.uint8) for place, c in enumerate(columns)]
    for later in range(1, len(columns)):
        for earlier in range(later):
            wins = columns[later] > columns[earlier]
            if seconds is not None:
                tie = columns[later] == columns[earlier]
                wins |= tie & (seconds[later] > seconds[earlier])
            win = wins.view(torch.uint8)  # of the ranks' own type: sums without a conversion
            ranks[earlier] += win
            ranks[later] -= win
    return torch.stack(ranks, -1)


def _above_threshold(groups: Tensor, n: int, second: Tensor | None) -> Tensor:
    """Weights above the n-th largest of their group, and as many of those equal to it as fit."""
    threshold = _smallest(groups, groups.shape[-1] - n)
    keep = groups >= threshold
    tied = keep.sum(-1) > n
    if tied.any():
        some = groups[tied]
        equal = some == threshold[tied]
        left = n - (keep[tied] & ~equal).sum(-1, keepdim=True)
        if second is not None:
            ranked = second[tied].masked_fill(~equal, -torch.inf)
            first = ranked.argsort(stable=True, descending=True)
            fit = torch.arange(some.shape[-1], device=some.device) < left
            equal = torch.zeros_like(equal).scatter_(-1, first, fit)
        keep[tied] = (some > threshold[tied]) | (equal & (equal.cumsum(-1) <= left))
    return keep


def _smallest(groups: Tensor, place: int) -> Tensor:
    """The value at `place` of each sorted group, (…, m) -> (…, 1); numpy's is 4 times faster."""
    if groups.is_cuda or groups.dtype == torch.bfloat16:
        return groups.kthvalue(place + 1, dim=-1, keepdim=True).values
    return torch.from_numpy(np.partition(groups.numpy(), place)[..., place : place + 1])
