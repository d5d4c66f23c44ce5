"""Figure 21. Variance of Δz divided by the magnitude ratio of z, attention sublayers dropped.

The numerator is the variance of the logit shift under weights ∝ p², which decides the deviation of
the probabilities (Theorem 2). The denominator decides the deviation of the logits z (Theorem 1).
There is one panel per block, all on the same logarithmic axes; the reader picks one of them and the
temperature of the probabilities. A quotient above 1 is an amplification by softmax alone. Look for
how far above or below 1 the line runs, and at which depth.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

RATIO = charts.Value("Var(Δz) / ratio of z", charts.LOG_SCALE)

LINES = {"Var(Δz), weights ∝ p², over |Δ⊥|²/|z|²": charts.Line("ratio", charts.SPACES["logit"])}


def draw(rows: pa.Table) -> ChartType:
    """The quotient over decoding steps, a panel per block."""
    return charts.lines_by_block(rows, RATIO, LINES, __doc__)
