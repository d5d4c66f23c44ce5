"""Figure 21. Variance of Δz over the magnitude ratio of z, at every attention sublayer dropped.

What reaches the probabilities (the variance of the logit shift under weights ∝ p², Theorem 2)
against what is seen in the logits (Theorem 1). One panel per block, all on the same logarithmic
axes, at T = 1. Everything above 1 is amplified by softmax alone: look for how far above 1 the line
runs, and where in depth.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

RATIO = charts.Value("Var(Δz) / ratio of z", charts.LOG)

LINES = {"Var(Δz), weights ∝ p², over |Δ⊥|²/|z|²": charts.Line("ratio", charts.SPACES["logit"])}


def draw(rows: pa.Table) -> ChartType:
    """The quotient over steps, a panel per block."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__, charts.reach(rows))


def _one_model(rows: pa.Table) -> ChartType:
    return charts.block_by_block(charts.lines(rows, RATIO, LINES))
