"""Figure 18. Magnitude ratio of h and z at every attention sublayer dropped.

The squared length of the perturbation's orthogonal part over the squared length of the dense
vector, for hidden states h and for the logits z they become: twice Theorem 1's estimate. One panel
per block, all on the same logarithmic axes. Where the logit line lies below the embedding line,
lm_head has damped the perturbation; look for the blocks where it lies above.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

RATIO = charts.Value("|Δ⊥|² / |dense|²", charts.LOG)

LINES = {space: charts.Line(space, charts.SPACES[space]) for space in ("embedding", "logit")}


def draw(rows: pa.Table) -> ChartType:
    """Both ratios over steps, a panel per block."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__, charts.reach(rows))


def _one_model(rows: pa.Table) -> ChartType:
    return charts.block_by_block(charts.lines(rows, RATIO, LINES))
