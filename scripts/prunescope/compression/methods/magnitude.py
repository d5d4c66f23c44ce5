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
    """Keep the weights with the largest |W_ij| of each linear, or of each group of a pattern.

    The masks do not depend on activations. An excerpt of the calibration set is used only to
    measure the output errors of the report.

    Parameters
    ----------
    model : the dense model.
    calibration : the calibration text.
    sparsity : share of zeros in every linear, whose weights are ranked together.
    pattern : "n:m", which keeps n of every m consecutive inputs, instead of a sparsity.
    """

    def masked(linear: Linear) -> tuple[Masked, float]:
        """The masked weight of a linear, and its mean importance."""
        importance = linear.weight.float().abs()
        ranked = importance if pattern is not None else importance.flatten()
        n, m = masks.groups_of(ranked.shape[-1], sparsity, pattern)
        keep = masks.keep_n_of_m(ranked, n, m).view_as(importance)
        return Masked.by(keep), float(importance.mean())

    walk = BlockWalk(model, calibration, None)
    for block in walk:
        block.replace_all(masked)
    return walk.result("magnitude")
