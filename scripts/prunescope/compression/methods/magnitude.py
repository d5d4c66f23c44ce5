"""Magnitude pruning, the baseline (Han et al. 2015, "Learning both Weights and Connections")."""

from typing import Any

import pyarrow as pa

from prunescope.compression import masks
from prunescope.compression.blockwise import BlockWalk, Calibration, Linear
from prunescope.model.edits import Edit
from prunescope.model.replacements import Masked


def compress(
    model: Any,
    calibration: Calibration,
    *,
    sparsity: float | None = None,
    pattern: str | None = None,
) -> tuple[Edit, pa.Table]:
    """Keep the largest |W_ij| of each linear, or of each group of a pattern.

    No activation decides: an excerpt of the calibration set serves the report's errors alone.

    Parameters
    ----------
    sparsity : share of zeros in every linear, ranked over the whole linear.
    pattern : "n:m" instead: n kept of every m consecutive inputs.
    """

    def masked(linear: Linear) -> tuple[Masked, float]:
        """The keep-mask of one linear, packed, and its mean importance."""
        importance = linear.weight.float().abs()
        ranked = importance if pattern is not None else importance.flatten()
        n, m = masks.groups_of(ranked.shape[-1], sparsity, pattern)
        keep = masks.keep_n_of_m(ranked, n, m).view_as(importance)
        return Masked.by(keep), float(importance.mean())

    walk = BlockWalk(model, calibration, None)
    for block in walk:
        block.replace_all(masked)
    return walk.result("magnitude")
