"""Figure 18. Magnitude ratio of h and z after each attention sublayer is dropped.

The magnitude ratio is the squared length of the perturbation's orthogonal part, divided by the
squared length of the dense vector. It is shown for the hidden states h and for the logits z that
they become, and it is twice Theorem 1's estimate. There is one panel per block, all on the same
logarithmic axes. Where the line of the logits is lower than that of the hidden states, lm_head has
damped the perturbation. Look for blocks at which it is higher.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

RATIO = charts.Value("|Δ⊥|² / |dense|²", charts.LOG_SCALE)

LINES = {
    charts.SPACE_NAMES[space]: charts.Line(space, charts.SPACES[space])
    for space in ("embedding", "logit")
}


def draw(rows: pa.Table) -> ChartType:
    """Both ratios over decoding steps, a panel per block."""
    return charts.lines_by_block(rows, RATIO, LINES, __doc__)
