"""Figure 6. Softmax amplifies: measured and estimated deviation of probabilities at one sublayer.

Left the angular deviation between the dense and the edited next-token distribution, right their
KL divergence, step by step. The dashed lines know nothing of the edited distribution: they are
half the variance of the logit shift Δz, under weights ∝ p² (Theorem 2) and p (Theorem 3), at
T = 1. Look for how closely the dashed line follows the solid one, and whether they part at the
peaks, where the second order is no longer enough.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

PANELS = {
    "angular_deviation": ("(a) angular deviation", "1 − cos(p, q)"),
    "kl_divergence": ("(b) KL divergence", "KL(p‖q) in nats"),
}


def draw(rows: pa.Table) -> ChartType:
    """One panel per quantity: measurement and estimate over steps."""
    subtitle = [f"Attention of block {rows.column('block')[0]}", *charts.reach(rows)]
    return charts.titled(charts.per_model(rows, _one_model), __doc__, subtitle)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    panels = []
    for quantity, (title, axis) in PANELS.items():
        shown = rows.filter(pc.equal(rows.column("quantity"), quantity))
        chart = charts.measured_and_estimated(shown, charts.Value(axis), "Theorems 2 and 3")
        panels.append(chart.properties(width=360, height=240, title=title))
    return alt.concat(*panels, columns=2)
