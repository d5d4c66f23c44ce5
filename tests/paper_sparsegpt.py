"""SparseGPT's Algorithm 1 in float64, one column at a time: the reference on real weights.

`test_sparsegpt.py` holds it against fresh inverses of ever smaller Hessians, its definition.
"""

import math

import torch

from prunescope.compression.hessians import DAMPING

BATCH = 128
"""Columns that share a threshold; those right of them are updated by one product (Section 3.4)."""


def factor_of(x):
    """U, upper triangular, with (XᵀX + damping)⁻¹ = UᵀU, from (tokens, in_features)."""
    hessian = x.double().T @ x.double()
    hessian.diagonal().add_(DAMPING * hessian.diagonal().mean())
    return torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)


def pruned(weight, factor, sparsity=None, pattern=None):
    """Updated weight and keep-mask of one linear, (out, in); a pattern's m divides 128."""
    columns = weight.double().T.contiguous()
    keep = torch.ones_like(columns, dtype=torch.bool)
    n, m = (int(part) for part in pattern.split(":")) if pattern else (0, BATCH)
    for start in range(0, len(columns), BATCH):
        stop = min(start + BATCH, len(columns))
        errors = torch.zeros_like(columns[start:stop])
        for j in range(start, stop):
            if j % m == 0:
                some = slice(j, min(j + m, stop))
                importance = columns[some] ** 2 / factor.diagonal()[some, None] ** 2
                keep[some] = _kept(importance, m - n) if pattern else _above(importance, sparsity)
            errors[j - start] = columns[j] * ~keep[j] / factor[j, j]
            columns[j:stop] -= factor[j, j:stop].outer(errors[j - start])
        columns[stop:] -= factor[start:stop, stop:].T @ errors
    return (columns * keep).T, keep.T


def _kept(importance, removed):
    """All but the least of each column of (m, rows)."""
    lost = importance.argsort(0)[:removed]
    return torch.ones_like(importance, dtype=torch.bool).scatter_(0, lost, False)


def _above(importance, sparsity):
    """All but the least share of the whole batch."""
    lost = importance.flatten().argsort()[: math.floor(sparsity * importance.numel())]
    keep = torch.ones(importance.numel(), dtype=torch.bool)
    keep[lost] = False
    return keep.view_as(importance)
