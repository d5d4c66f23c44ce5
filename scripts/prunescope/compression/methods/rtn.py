"""Rounding to nearest, the baseline of weight-only quantization (Dettmers & Zettlemoyer 2023).

"The case for 4-bit precision: k-bit Inference Scaling Laws", Section 3.
"""

from typing import Any

import pyarrow as pa

from prunescope.compression import quantization
from prunescope.compression.blockwise import BlockWalk, Calibration, Linear
from prunescope.model.edits import Edit
from prunescope.model.replacements import Quantized


def compress(
    model: Any, calibration: Calibration, *, bits: int, group_size: int
) -> tuple[Edit, pa.Table]:
    """Round every weight to the nearest of 2^bits values, evenly spaced over its group's range.

    The weights do not depend on activations. An excerpt of the calibration set is used only to
    measure the output errors of the report.

    Parameters
    ----------
    model : the dense model.
    calibration : the calibration text.
    bits : bits per quantized weight, from 2 to 8.
    group_size : consecutive inputs of a row that share a scale and a zero point.
    """

    def rounded(linear: Linear) -> tuple[Quantized, None]:
        """The quantized weight of a linear; there is no importance."""
        weight = linear.weight.float()
        quantization.check(weight.shape[-1], bits, group_size)
        grid = quantization.min_max_grid(weight, bits, group_size)
        codes = quantization.codes_of(weight, grid, bits)
        return Quantized.by(codes, *grid, bits=bits, group_size=group_size), None

    walk = BlockWalk(model, calibration, None)
    for block in walk:
        block.replace_all(rounded)
    return walk.result("rtn")
