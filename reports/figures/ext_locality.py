"""Where the second-order story holds: estimates of KL against the size of the shift.

Estimated over measured KL at the model's own output, for every variant, history, prompt and step,
binned by the standard deviation of the logit shift Δz under p; lines are medians, bands quartiles.
One is a perfect estimate. To the left the shift is small and orders agree; to the right the series
leaves its radius of convergence and a higher order is no better (estimates below zero have no place
on the axis). Hoeffding's bound holds everywhere and says little. Look for where orange leaves one.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope import charts

ESTIMATES = {
    "order 2": charts.ORANGE,
    "order 3": charts.GREEN,
    "order 4": charts.BLUE,
    "bound": "#808080",
}


def draw(rows: pa.Table) -> ChartType:
    """One panel per model."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> alt.LayerChart:
    scale = alt.Scale(domain=list(ESTIMATES), range=list(ESTIMATES.values()))
    base = (
        alt.Chart(rows)
        .transform_filter("datum.middle > 0")
        .encode(
            alt.X(
                "size:Q",
                scale=charts.LOG,
                axis=alt.Axis(title="Standard deviation of Δz under p (logits)", tickCount=6),
            ),
            alt.Color("estimate:N", scale=scale, legend=alt.Legend(title=None, orient="top")),
        )
    )
    value = charts.Value("Estimated KL / measured KL", alt.Scale(type="log", clamp=True))
    band = base.transform_filter("datum.low > 0").mark_area(opacity=0.12)
    tooltip = ["estimate:N", "size:Q", "middle:Q", "low:Q", "high:Q", "points:Q"]
    layers: alt.LayerChart = alt.layer(  # type: ignore[assignment] # no facets inside
        band.encode(value.of("low"), alt.Y2("high:Q")),
        base.mark_line(strokeWidth=2, point=True).encode(value.of("middle"), tooltip=tooltip),
    )
    return charts.wide(layers)
