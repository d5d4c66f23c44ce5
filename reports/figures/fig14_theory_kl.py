"""Figure 14. KL divergence at every attention sublayer dropped: measured and estimated.

One panel per block, all on the same logarithmic axes, at T = 1. The estimate is half the variance
of the logit shift Δz under the dense probabilities p (Theorem 3). Look for the gap between the
solid and the dashed line, the same height everywhere for the same relative error, and for how the
level changes from the first block to the last.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

KL = charts.Value("KL(p‖q) in nats", charts.LOG)


def draw(rows: pa.Table) -> ChartType:
    """Measurement and estimate over steps, a panel per block."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__, charts.reach(rows))


def _one_model(rows: pa.Table) -> ChartType:
    return charts.block_by_block(charts.measured_and_estimated(rows, KL, "Theorem 3"))
