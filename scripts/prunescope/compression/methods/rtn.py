"""Round to nearest, the baseline of weight-only quantization (Dettmers & Zettlemoyer 2023).

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

    No activation decides: an excerpt of the calibration set serves the report's errors alone.

    Parameters
    ----------
    bits : width of a quantized weight, from 2 to 8.
    group_size : consecutive inputs of a row that share a scale and a zero point.
    """

    def rounded(linear: Linear) -> tuple[Quantized, None]:
        """The integers of one linear."""
        weight = linear.weight.float()
        quantization.check(weight.shape[-1], bits, group_size)
        grid = quantization.min_max_grid(weight, bits, group_size)
        codes = quantization.codes_of(weight, grid, bits)
        return Quantized.by(codes, *grid, bits=bits, group_size=group_size), None

    walk = BlockWalk(model, calibration, None)
    for block in walk:
        block.replace_all(rounded)
    return walk.result("rtn")
