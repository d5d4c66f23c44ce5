"""Figure 16. Angular deviation of hidden states after each attention sublayer is dropped.

There is one panel per block, all on the same logarithmic axes. The estimate is half the squared
relative orthogonal magnitude of Δh (Theorem 1). Look for blocks at which the two lines can be told
apart, and compare the level with that of the probabilities in Figure 15.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

DEVIATION = charts.Value("1 − cos(h, h+Δh)", charts.LOG_SCALE)


def draw(rows: pa.Table) -> ChartType:
    """Measurement and estimate over decoding steps, a panel per block."""
    return charts.lines_by_block(
        rows, DEVIATION, charts.measured_and_estimated("Theorem 1"), __doc__
    )
