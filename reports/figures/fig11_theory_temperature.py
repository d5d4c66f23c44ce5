"""Figure 11. Measured and estimated deviations of probabilities at several temperatures.

The chart shows the sublayer of Figure 6 once more, with its probabilities taken at each temperature
of the analysis. Dashed lines are Theorems 2 and 3, which divide the variance of Δz by 2T². The
upper rows are one arithmetic prompt, the lower rows the mean over all prompts that reach the step.
The second order holds while Δz/T is small. Look for whether the dashed line follows the solid one
at T = 0.3 as closely as at T = 1.5.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

QUANTITIES = {
    "angular_deviation": charts.Value("1 − cos(p, q)"),
    "kl_divergence": charts.Value("KL(p‖q) in nats"),
}


def draw(rows: pa.Table) -> ChartType:
    """A row per scope and quantity, and a column per temperature."""
    subtitle = [f"Attention of block {rows.column('block')[0]}"]
    return charts.figure(rows, _one_model, __doc__, subtitle)


def _one_model(rows: pa.Table) -> alt.VConcatChart:
    panels = []
    named = charts.measured_and_estimated("Theorems 2 and 3")
    for scope in charts.scopes(rows):
        for letter, (quantity, value) in zip("ab", QUANTITIES.items(), strict=True):
            of_panel = rows.filter(
                pc.and_(
                    pc.equal(rows.column("scope"), scope),
                    pc.equal(rows.column("quantity"), quantity),
                )
            )
            chart = charts.lines(of_panel, value, named)
            header = alt.Header(labelExpr="'T = ' + datum.value", labelPadding=2)
            facet = alt.Facet("temperature:O", title=None, header=header)
            small = chart.properties(width=150, height=100).facet(facet, columns=5, spacing=12)
            panels.append(small.properties(title=f"({letter}) {scope}"))
    return alt.vconcat(*panels)
