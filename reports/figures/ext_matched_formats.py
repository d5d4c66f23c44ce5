"""The same questions as retrieval, as multiple choice, and as generation.

Items of SQuAD, GSM8K and HumanEval, each asked three times: to find its answer among all, to choose
it among four, and to write it. Left the share answered right, with 95 % bootstrap intervals over
items; right the share whose answer is the dense model's own, which shows a collapse also where
dense is near the floor. Content is the same, only the format varies. Look for variants whose orange
point on the right has fallen while the others stay.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

FORMATS = {
    "retrieval": charts.BLUE,
    "multiple_choice": charts.GREEN,
    "generation": charts.ORANGE,
}


def draw(rows: pa.Table) -> ChartType:
    """Scores and agreement by variant, a point per format."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    variants = rows.column("variant").unique().to_pylist()
    scale = alt.Scale(domain=list(FORMATS), range=list(FORMATS.values()))
    legend = alt.Legend(title=None, orient="top", labelExpr="replace(datum.label, '_', ' ')")
    base = alt.Chart(rows).encode(
        alt.Y("variant:N", sort=variants, title=None),
        alt.Color("asked_as:N", scale=scale, legend=legend),
        yOffset=alt.YOffset("asked_as:N", sort=list(FORMATS)),
        tooltip=["variant:N", "asked_as:N", "score:Q", "agreement:Q", "items:Q"],
    )
    shown = alt.Scale(domain=[0, 1])
    axis = alt.Axis(title="Share answered right", tickCount=5)
    points = base.mark_point(filled=True, size=60, opacity=1)
    whiskers = base.mark_rule(strokeWidth=1.5).encode(
        alt.X("low:Q", axis=axis, scale=shown), alt.X2("high:Q")
    )
    size = {"width": 320, "height": 40 * len(variants)}
    right = alt.layer(whiskers, points.encode(alt.X("score:Q", axis=axis, scale=shown)))
    same = alt.Axis(title="Share with dense's own answer", tickCount=5)
    agreement = points.encode(alt.X("agreement:Q", axis=same, scale=shown))
    chart: alt.ConcatChart = alt.concat(
        right.properties(**size), agreement.properties(**size), columns=2
    )
    return chart
