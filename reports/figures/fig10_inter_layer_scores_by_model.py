"""Figure 10. One multiple-choice task and one generation task against dropped parts, by model.

For each model the panels show scores against the number of dropped attention sublayers, MLP
sublayers or whole blocks; the parts least influential in that model are dropped first. On the left
are the scores with 95 % intervals over items, on the right their shares of the dense model's score.
Dashed lines are the dense model. The paper shows MMLU and HumanEval; if the models are near the
floor on them, other tasks take their place, as the lines above the chart say. Look along a row for
a colour that falls earlier for generation than for multiple choice.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

TOOLTIP = ("task:N", "dropped:N", "n_drop:Q", "score:Q", "share_of_dense:Q", "n_items:Q")
AXES = {"score": "Score", "share_of_dense": "Score / dense score"}


def draw(rows: pa.Table) -> ChartType:
    """A row per model: the scores of both tasks, then their shares of the dense score."""
    papers_tasks = {"non_generative": ["mmlu"], "generative": ["humaneval"]}
    subtitle = [*charts.substitutes(rows, papers_tasks), *charts.items_and_shots(rows)]
    return charts.titled(alt.vconcat(*map(_one_model, _parts(rows, "model"))), __doc__, subtitle)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    kinds = charts.dropped_parts(rows)
    scale = alt.Scale(domain=list(kinds), range=[charts.PARTS[kind] for kind in kinds])
    names = f"({kinds})[datum.label]"
    legend = alt.Legend(title=None, orient="top", labelExpr=names, symbolOpacity=1)
    marks = [alt.Color("dropped:N", scale=scale, legend=legend)]
    panels = [
        charts.over_drops(
            of_task, charts.Value(title, alt.Scale(zero=True)), column, marks, TOOLTIP
        ).properties(width=185, height=150, title=_panel_title(of_task))
        for column, title in AXES.items()
        for of_task in _parts(rows, "task")
    ]
    named = alt.Title(rows.column("model")[0].as_py(), anchor="start")
    chart: alt.ConcatChart = alt.concat(*panels, columns=4).properties(title=named)
    return chart


def _panel_title(rows: pa.Table) -> str:
    task, family = (rows.column(name)[0].as_py() for name in ("task", "family"))
    return f"{task} ({'generation' if family == 'generative' else 'multiple choice'})"


def _parts(rows: pa.Table, column: str) -> list[pa.Table]:
    """The rows split by the values of a column, in the order of the rows."""
    values = rows.column(column).unique().to_pylist()
    return [rows.filter(pc.equal(rows.column(column), value)) for value in values]
