"""Figure 11. The estimates at other temperatures: sharper softmax, larger deviation.

The sublayer of Figure 6 once more, its probabilities read at every temperature of the analysis;
dashed lines are Theorems 2 and 3, which divide the variance of Δz by 2T². Above one arithmetic
prompt, below the mean over all prompts that reach the step. Look for whether the dashed line
follows at T = 0.3 as closely as at T = 1.5: the second order holds while Δz/T is small.
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
    """A row per scope and quantity, a column per temperature."""
    subtitle = [f"Attention of block {rows.column('block')[0]}"]
    return charts.titled(charts.per_model(rows, _one_model), __doc__, subtitle)


def _one_model(rows: pa.Table) -> alt.VConcatChart:
    panels = []
    for scope in charts.scopes(rows):
        for letter, (quantity, value) in zip("ab", QUANTITIES.items(), strict=True):
            shown = rows.filter(
                pc.and_(
                    pc.equal(rows.column("scope"), scope),
                    pc.equal(rows.column("quantity"), quantity),
                )
            )
            chart = charts.measured_and_estimated(shown, value, "Theorems 2 and 3")
            header = alt.Header(labelExpr="'T = ' + datum.value", labelPadding=2)
            facet = alt.Facet("temperature:O", title=None, header=header)
            small = chart.properties(width=150, height=100).facet(facet, columns=5, spacing=12)
            panels.append(small.properties(title=f"({letter}) {scope}"))
    return alt.vconcat(*panels)
