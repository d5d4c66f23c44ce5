"""Figure 1. Dropped sublayers cost a task that writes more than tasks that choose.

Score of each task against how many attention sublayers, MLPs or whole blocks are dropped, the
least influential first; bands are 95 % intervals over items. Above the score itself, below its
share of the dense model's. SQuAD's open answers (F1) stand where the paper has GSM8K and
HumanEval, on which this model is near the floor. Look for the point at which the orange line has
fallen and the others have not; what chance gives is not zero (a quarter where four are offered).
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope import charts

KINDS = {"attn": "attention dropped", "mlp": "MLP dropped", "block": "blocks dropped"}


def draw(rows: pa.Table) -> ChartType:
    """A column per kind of drop; scores above, shares of dense below."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__, charts.asked(rows))


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    panels = []
    for column, title in (("score", "Score"), ("share_of_dense", "Score / dense")):
        for kind, name in KINDS.items():
            shown = rows.filter(pc.equal(rows.column("dropped"), kind))
            if shown.num_rows:
                panels.append(_panel(shown, column, title).properties(title=name))
    return alt.concat(*panels, columns=len(panels) // 2)


def _panel(rows: pa.Table, column: str, title: str) -> alt.LayerChart:
    axis = alt.X("n_drop:Q", axis=alt.Axis(title="Dropped", format="d", tickMinStep=1))
    value = charts.Value(title, alt.Scale(zero=True))
    color, dash = charts.task_marks(rows)
    base = alt.Chart(rows).encode(axis, color)
    tooltip = ["task:N", "metric:N", "n_drop:Q", "score:Q", "share_of_dense:Q", "n_items:Q"]
    line = base.mark_line(strokeWidth=2, point=True).encode(value.of(column), dash, tooltip=tooltip)
    layers = [line]
    if column == "score":
        band = base.mark_area(opacity=0.15)
        layers.insert(0, band.encode(value.of("low"), alt.Y2("high:Q")))
    layered: alt.LayerChart = alt.layer(*layers)  # type: ignore[assignment] # no facets inside
    return layered.properties(width=230, height=170)
