"""Figure 1. Dropped sublayers cost a task that writes more than tasks that choose.

Score of each task against how many attention sublayers, MLPs or whole blocks are dropped, the
least influential first; bands are 95 % intervals over items, dashed is dense. Above the score
itself, below its share of the dense model's. Where a model is near the floor on the paper's
generative tasks, another one stands in their place; the lines above the chart say which. Look for
the point at which an orange line has fallen and the others have not; what chance gives is not zero
(a quarter where four are offered).
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

TOOLTIP = ("task:N", "metric:N", "n_drop:Q", "score:Q", "share_of_dense:Q", "n_items:Q")


def draw(rows: pa.Table) -> ChartType:
    """A column per kind of drop; scores above, shares of dense below."""
    said = [*charts.stand_ins(rows, {"generative": ["gsm8k", "humaneval"]}), *charts.asked(rows)]
    return charts.titled(charts.per_model(rows, _one_model), __doc__, said)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    panels = []
    marks = charts.task_marks(rows)
    for column, title in (("score", "Score"), ("share_of_dense", "Score / dense")):
        value = charts.Value(title, alt.Scale(zero=True))
        for kind, name in charts.DROPS.items():
            shown = rows.filter(pc.equal(rows.column("dropped"), kind))
            if shown.num_rows:
                panel = charts.over_drops(shown, value, column, marks, TOOLTIP)
                panels.append(panel.properties(width=230, height=170, title=name))
    return alt.concat(*panels, columns=len(panels) // 2)
