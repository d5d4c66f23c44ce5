"""Wanda's masks from the paper's Eq. 1 alone: the oracle of its tests, and a rival in others'."""

import math

import torch


def paper_mask(weight, x, sparsity=None, pattern=None):
    """Keep-mask of one linear from its inputs, (tokens, in_features), in float64, by sorting."""
    importance = weight.double().abs() * x.double().square().sum(0).sqrt()
    n, m = (int(part) for part in pattern.split(":")) if pattern else (None, weight.shape[1])
    removed = m - n if pattern else math.floor(sparsity * m)
    groups = importance.unflatten(-1, (-1, m))
    lost = groups.argsort(-1)[..., :removed]
    return torch.ones_like(groups, dtype=torch.bool).scatter_(-1, lost, False).flatten(-2)
