"""Figure 16. Angular deviation of hidden states at every attention sublayer dropped.

One panel per block, all on the same logarithmic axes. The estimate is half the squared relative
orthogonal magnitude of Δh (Theorem 1). Look for blocks where the two lines can be told apart at
all, and compare the level with the probabilities of Figure 15.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

DEVIATION = charts.Value("1 − cos(h, h+Δh)", charts.LOG)


def draw(rows: pa.Table) -> ChartType:
    """Measurement and estimate over steps, a panel per block."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__, charts.reach(rows))


def _one_model(rows: pa.Table) -> ChartType:
    return charts.block_by_block(charts.measured_and_estimated(rows, DEVIATION, "Theorem 1"))
