"""Figure 15. Angular deviation of probabilities after each attention sublayer is dropped.

There is one panel per block, all on the same logarithmic axes; the reader picks one of them and the
temperature of the probabilities. The estimate is half the variance of the logit shift Δz under
weights ∝ p² (Theorem 2). The measurement cannot exceed 1, but the estimate can: look for panels in
which the dashed line leaves the solid one at the top, and for how the level changes with depth.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

DEVIATION = charts.Value("1 − cos(p, q)", charts.LOG_SCALE)


def draw(rows: pa.Table) -> ChartType:
    """Measurement and estimate over decoding steps, a panel per block."""
    return charts.lines_by_block(
        rows, DEVIATION, charts.measured_and_estimated("Theorem 2"), __doc__
    )
