"""Figure 15. Angular deviation of probabilities at every attention sublayer dropped.

One panel per block, all on the same logarithmic axes, at T = 1. The estimate is half the variance
of the logit shift Δz under weights ∝ p² (Theorem 2). Measured values cannot exceed 1, the estimate
can: look for panels where the dashed line leaves the solid one at the top, and for how the level
changes with depth.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

DEVIATION = charts.Value("1 − cos(p, q)", charts.LOG)


def draw(rows: pa.Table) -> ChartType:
    """Measurement and estimate over steps, a panel per block."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__, charts.reach(rows))


def _one_model(rows: pa.Table) -> ChartType:
    return charts.block_by_block(charts.measured_and_estimated(rows, DEVIATION, "Theorem 2"))
