"""Where the second-order story holds: estimates of KL against the size of the shift.

Estimated over measured KL at the model's own output, for every variant, history, prompt and step,
binned by the standard deviation of the logit shift Δz: under p, as in Theorem 3, and with all
tokens alike. Lines are medians, bands quartiles; one is a perfect estimate, and an estimate below
zero has no place on the axis. Look for where orange comes near one. A shift that is small under p
need not be small: where p is sharp, unlikely tokens move far and carry the KL, which no variance
under p sees. Over all tokens, smaller shifts are estimated better and a higher order helps, up to
where the series leaves its radius of convergence. Hoeffding's bound holds everywhere and says
little.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope import charts

ESTIMATES = {
    "order 2": charts.ORANGE,
    "order 3": charts.GREEN,
    "order 4": charts.BLUE,
    "bound": "#808080",
}


WEIGHTS = {
    "p": "Standard deviation of Δz under p (logits)",
    "uniform": "Standard deviation of Δz over all tokens alike (logits)",
}
"""Title of each panel's axis."""


def draw(rows: pa.Table) -> ChartType:
    """Two panels per model, one per weighting of the shift's size."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> alt.HConcatChart:
    panels = [
        _panel(rows.filter(pc.equal(rows.column("weights"), weights)), title)
        for weights, title in WEIGHTS.items()
    ]
    return alt.hconcat(*panels, spacing=24).resolve_scale(y="shared")


def _panel(rows: pa.Table, title: str) -> alt.LayerChart:
    scale = alt.Scale(domain=list(ESTIMATES), range=list(ESTIMATES.values()))
    base = (
        alt.Chart(rows)
        .transform_filter("datum.middle > 0")
        .encode(
            alt.X(
                "size:Q",
                scale=charts.LOG,
                axis=alt.Axis(title=title, tickCount=6),
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
