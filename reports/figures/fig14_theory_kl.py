"""Figure 14. KL divergence after each attention sublayer is dropped: measured and estimated.

There is one panel per block, all on the same logarithmic axes; the reader picks one of them and the
temperature of the probabilities. The estimate is half the variance of the logit shift Δz under the
dense probabilities p (Theorem 3). Look for the gap between the solid and the dashed line: on these
axes the same gap is the same relative error. Look also for how the level changes from the first
block to the last.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

KL = charts.Value("KL(p‖q) in nats", charts.LOG_SCALE)


def draw(rows: pa.Table) -> ChartType:
    """Measurement and estimate over decoding steps, a panel per block."""
    return charts.lines_by_block(rows, KL, charts.measured_and_estimated("Theorem 3"), __doc__)
