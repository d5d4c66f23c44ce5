"""Figure 19. Variance of the logit shift Δz after each attention sublayer is dropped.

The lines show the same shift under three weightings of the vocabulary: all tokens equal, the dense
probability p, and p², the weights of Theorem 2. There is one panel per block, all on the same
logarithmic axes; the reader picks one of them and the temperature of the probabilities. Look for
how far the three lines are apart, which says which tokens shift most, and for their level in the
last blocks.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

VARIANCE = charts.Value("Var(Δz) in logits²", charts.LOG_SCALE)

LINES = {
    "equal weights": charts.Line("var_uniform", charts.GREEN),
    "weights p": charts.Line("var_p", charts.BLUE, (4, 3)),
    "weights ∝ p²": charts.Line("var_escort", charts.ORANGE),
}


def draw(rows: pa.Table) -> ChartType:
    """Three variances over decoding steps, a panel per block."""
    return charts.lines_by_block(rows, VARIANCE, LINES, __doc__)
