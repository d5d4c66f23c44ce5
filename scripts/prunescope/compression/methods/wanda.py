"""Wanda: pruning by the product of weights and norms of activations.

Sun et al. 2024, "A Simple and Effective Pruning Approach for Large Language Models", Eq. 1 and
Algorithm 1.
"""

from typing import Any

import pyarrow as pa

from prunescope.compression import masks
from prunescope.compression.blockwise import BlockWalk, Calibration, ColumnNorms, Linear
from prunescope.model.edits import Edit
from prunescope.model.replacements import Masked


def compress(
    model: Any,
    calibration: Calibration,
    *,
    sparsity: float | None = None,
    pattern: str | None = None,
) -> tuple[Edit, pa.Table]:
    """Keep the weights with the largest importance |W_ij| ‖x_j‖₂ in each output row, unchanged.

    Blocks are pruned in order. The norms of a block's inputs are measured before it is pruned, and
    the next block reads the output of the pruned block. Embeddings, norms and lm_head are not
    pruned. Of weights with equal importance (if an input is always zero) the larger one is kept, so
    that pruning the variant once more changes nothing.

    Parameters
    ----------
    model : the dense model.
    calibration : the calibration text.
    sparsity : s, the share of zeros in every row, which are floor(s in_features) weights.
    pattern : "n:m", which keeps n of every m consecutive inputs, instead of a sparsity.
    """

    def masked(linear: Linear) -> tuple[Masked, float]:
        """The masked weight of a linear, and its mean importance."""
        magnitude = linear.weight.float().abs()
        importance = magnitude * linear.inputs.norms()
        n, m = masks.groups_of(importance.shape[1], sparsity, pattern)
        keep = masks.keep_n_of_m(importance, n, m, then_by=magnitude)
        return Masked.by(keep), float(importance.mean())

    walk = BlockWalk(model, calibration, ColumnNorms)
    for block in walk:
        block.replace_all(masked)
    return walk.result("wanda")
