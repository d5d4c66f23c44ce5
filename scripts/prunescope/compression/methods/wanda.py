"""Wanda: weights and activations decide together.

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
    """Keep the weights of largest importance |W_ij| ‖x_j‖₂ in each output row; no update.

    Blocks go in order: a block's norms are taken before it is pruned, and its pruned output is
    what the next one reads. Embeddings, norms and lm_head stay. Among equal importances (inputs
    that are always zero) the larger weight stays, so pruning once more changes nothing.

    Parameters
    ----------
    sparsity : share of zeros in every row, floor(s in_features) weights.
    pattern : "n:m" instead: n kept of every m consecutive inputs.
    """

    def masked(linear: Linear) -> tuple[Masked, float]:
        """The keep-mask of one linear, packed, and its mean importance."""
        magnitude = linear.weight.float().abs()
        importance = magnitude * linear.inputs.norms()
        n, m = masks.groups_of(importance.shape[1], sparsity, pattern)
        keep = masks.keep_n_of_m(importance, n, m, then_by=magnitude)
        return Masked.by(keep), float(importance.mean())

    walk = BlockWalk(model, calibration, ColumnNorms)
    for block in walk:
        block.replace_all(masked)
    return walk.result("wanda")
