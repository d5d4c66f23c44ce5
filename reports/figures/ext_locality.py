"""Estimates of KL divergence against the size of the logit shift.

The y axis is estimated KL divided by measured KL at the model's own output, for each variant,
history, prompt and step. The x axis bins them by the standard deviation of the logit shift Δz: on
the left under p, as in Theorem 3, on the right over all tokens equally. Lines are medians, bands
are quartiles, and a quotient of one is a perfect estimate. The lower panels show Hoeffding's bound,
which always holds but is loose. Look for the sizes at which the lines are near one. A shift that is
small under p can be large elsewhere: if p is sharp, unlikely tokens may move far and carry the KL,
which no variance under p shows. A higher order helps only within the radius of convergence of the
series.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

ESTIMATES = {
    "order 2": charts.ORANGE,
    "order 3": charts.GREEN,
    "order 4": charts.BLUE,
    "bound": "#808080",
}


WEIGHTS = {
    "p": "Standard deviation of Δz under p (logits)",
    "uniform": "Standard deviation of Δz over all tokens equally (logits)",
}
"""The title of each panel's axis."""

NEAR = charts.Value("Estimated KL / measured KL", alt.Scale(domain=[0, 2]))
FAR = charts.Value("Bound / measured KL", charts.LOG_SCALE)


def draw(rows: pa.Table) -> ChartType:
    """The orders above and the bound below; a column per weighting of the size of the shift."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.VConcatChart:
    is_bound = pc.equal(rows.column("estimate"), "bound")
    orders = rows.filter(pc.invert(is_bound))
    bound = rows.filter(is_bound)
    return alt.vconcat(_sizes(orders, NEAR, 230), _sizes(bound, FAR, 110))


def _sizes(rows: pa.Table, value: charts.Value, height: int) -> alt.HConcatChart:
    """A panel per weighting, with the same axis of the ratio."""
    panels = [
        _panel(charts.where(rows, "weights", weights), title, value)
        for weights, title in WEIGHTS.items()
    ]
    sized = (panel.properties(width=420, height=height) for panel in panels)
    return alt.hconcat(*sized, spacing=24)


def _panel(rows: pa.Table, title: str, value: charts.Value) -> alt.LayerChart:
    """Medians and bands of quartiles, a colour per estimate."""
    scale = alt.Scale(domain=list(ESTIMATES), range=list(ESTIMATES.values()))
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1)
    base = alt.Chart(rows).encode(
        alt.X("size:Q", scale=charts.LOG_SCALE, axis=alt.Axis(title=title, tickCount=6)),
        alt.Color("estimate:N", scale=scale, legend=legend),
        tooltip=[
            "estimate:N",
            "size:Q",
            alt.Tooltip("middle:Q", title="median"),
            "low:Q",
            "high:Q",
            "points:Q",
        ],
    )
    band = base.mark_area(opacity=0.12, clip=True).encode(value.of("low"), alt.Y2("high:Q"))
    line = base.mark_line(strokeWidth=2, point=True, clip=True).encode(value.of("middle"))
    layers: alt.LayerChart = alt.layer(band, line)  # type: ignore[assignment] # no facets inside
    return layers
