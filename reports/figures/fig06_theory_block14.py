"""Figure 6. Deviation of probabilities at one dropped attention sublayer: measured and estimated.

Panel (a) shows the angular deviation between the dense and the edited next-token distribution,
panel (b) their KL divergence, step by step. The dashed lines do not use the edited distribution:
they are half the variance of the logit shift Δz, under weights ∝ p² (Theorem 2) and under p
(Theorem 3), at T = 1. Look for how closely the dashed line follows the solid one, and whether they
separate at the peaks, where the second order is no longer sufficient.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

PANELS = {
    "angular_deviation": ("(a) angular deviation", "1 − cos(p, q)"),
    "kl_divergence": ("(b) KL divergence", "KL(p‖q) in nats"),
}


def draw(rows: pa.Table) -> ChartType:
    """Measurement and estimate over decoding steps, a panel per quantity."""
    subtitle = [f"Attention of block {rows.column('block')[0]}", *charts.prompts_per_step(rows)]
    return charts.figure(rows, _one_model, __doc__, subtitle)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    panels = []
    named = charts.measured_and_estimated("Theorems 2 and 3")
    for quantity, (title, axis) in PANELS.items():
        of_quantity = charts.where(rows, "quantity", quantity)
        chart = charts.lines(of_quantity, charts.Value(axis), named)
        panels.append(chart.properties(width=360, height=240, title=title))
    return alt.concat(*panels, columns=2)
