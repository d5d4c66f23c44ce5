"""Wanda's masks from the paper's Eq. 1 alone: the oracle of its tests, and a rival in others'."""

import math

import torch

import linear_inputs
from prunescope.model import anatomy


def paper_mask(weight, x, sparsity=None, pattern=None):
    """Keep-mask of one linear from its inputs, (tokens, in_features), in float64, by sorting."""
    importance = weight.double().abs() * x.double().square().sum(0).sqrt()
    n, m = (int(part) for part in pattern.split(":")) if pattern else (None, weight.shape[1])
    removed = m - n if pattern else math.floor(sparsity * m)
    groups = importance.unflatten(-1, (-1, m))
    lost = groups.argsort(-1)[..., :removed]
    return torch.ones_like(groups, dtype=torch.bool).scatter_(-1, lost, False).flatten(-2)


def disagreements(model, edit, token_ids, **level):
    """(weights whose fate differs from the paper's, weights), over all linears.

    Inputs are those of hooks on a pass of the model pruned so far.
    """
    prefix = anatomy.anatomy_of(model).blocks
    differing = []

    def compare(block, inputs):
        for name, x in inputs.items():
            full = f"{prefix}.{block}.{name}.weight"
            dense = model.get_parameter(full)
            kept = edit.tensors[full].of(dense) != 0
            differing.append((kept != paper_mask(dense, x, **level)).flatten())

    linear_inputs.visit(model, edit, token_ids, compare)
    assert len(differing) == len(linear_inputs.own_linears(model))
    bits = torch.cat(differing)
    return int(bits.count_nonzero()), len(bits)
