"""Figure 19. Variance of the logit shift Δz at every attention sublayer dropped.

The same shift under three weightings of the vocabulary: every token alike, by the dense
probability p, and by p², which is all that softmax lets through to Theorem 2. One panel per block,
all on the same logarithmic axes, at T = 1. Look for how the three lines part, which tokens the
shift hits hardest, and for the last blocks.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

VARIANCE = charts.Value("Var(Δz)", charts.LOG)

LINES = {
    "every token alike": charts.Line("var_uniform", charts.GREEN),
    "weights p": charts.Line("var_p", charts.BLUE, (4, 3)),
    "weights ∝ p²": charts.Line("var_escort", charts.ORANGE),
}


def draw(rows: pa.Table) -> ChartType:
    """Three variances over steps, a panel per block."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__, charts.reach(rows))


def _one_model(rows: pa.Table) -> ChartType:
    return charts.block_by_block(charts.lines(rows, VARIANCE, LINES))
