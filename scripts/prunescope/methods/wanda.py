"""Wanda: weights and activations decide together.

Sun et al. 2024, "A Simple and Effective Pruning Approach for Large Language Models", Eq. 1 and
Algorithm 1.
"""

from typing import Any

import pyarrow as pa
from torch import Tensor

from prunescope import masks
from prunescope.blockwise import BlockWalk, Calibration, ColumnNorms
from prunescope.edits import Edit
from prunescope.replacements import Masked


def compress(
    model: Any,
    calibration: Calibration,
    *,
    sparsity: float | None = None,
    pattern: str | None = None,
) -> tuple[Edit, pa.Table]:
    """Keep the weights of largest importance |W_ij| ‖x_j‖₂ in each output row; no update.

    Blocks go in order: a block's norms are taken before it is pruned, and its pruned output is
    what the next one reads. Embeddings, norms and lm_head stay. Among equal importances (inputs
    that are always zero) the larger weight stays, so pruning once more changes nothing.

    Parameters
    ----------
    sparsity : share of zeros in every row, floor(s in_features) weights.
    pattern : "n:m" instead: n kept of every m consecutive inputs.
    """
    walk = BlockWalk(model, calibration, ColumnNorms)
    for block in walk:
        for group in block.groups:
            n, m = masks.groups_of(group.in_features, sparsity, pattern)
            norms = group.inputs.norms()
            for linear in group.linears:
                block.replace(linear, *_masked(linear.weight, norms, n, m))
    return walk.result("wanda")


def _masked(weight: Tensor, norms: Tensor, n: int, m: int) -> tuple[Masked, float]:
    """The keep-mask of one linear, packed, and its mean importance."""
    magnitude = weight.float().abs()
    importance = magnitude * norms
    keep = masks.keep_n_of_m(importance, n, m, then_by=magnitude)
    return Masked.by(keep), float(importance.mean())
