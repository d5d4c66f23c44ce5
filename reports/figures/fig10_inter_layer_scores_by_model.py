"""Figure 10. Dropped sublayers, model by model: a task that chooses beside one that writes.

For each model, score against how many attention sublayers, MLPs or whole blocks are dropped, the
least influential of that very model first: on the left the scores, bands are 95 % intervals over
items; on the right their share of dense's, which is dashed. The paper shows MMLU beside HumanEval;
where a model is near the floor on them, others stand in their place, and the lines above the chart
say which. Look along a row for a colour that falls earlier in the second panel than in the first.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

COLORS = {"attn": charts.BLUE, "mlp": charts.GREEN, "block": charts.ORANGE}
TOOLTIP = ("task:N", "dropped:N", "n_drop:Q", "score:Q", "share_of_dense:Q", "n_items:Q")
VIEWS = {"score": "Score", "share_of_dense": "Score / dense"}


def draw(rows: pa.Table) -> ChartType:
    """A row per model; choosing beside writing, first the scores, then the shares of dense."""
    papers = {"non_generative": ["mmlu"], "generative": ["humaneval"]}
    said = [*charts.stand_ins(rows, papers), *charts.asked(rows)]
    return charts.titled(alt.vconcat(*map(_one_model, _parts(rows, "model"))), __doc__, said)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    shown = [kind for kind in COLORS if kind in rows.column("dropped").unique().to_pylist()]
    scale = alt.Scale(domain=shown, range=[COLORS[kind] for kind in shown])
    names = f"({charts.DROPS})[datum.label]"
    legend = alt.Legend(title=None, orient="top", labelExpr=names, symbolOpacity=1)
    marks = [alt.Color("dropped:N", scale=scale, legend=legend)]
    panels = [
        charts.over_drops(
            of_task, charts.Value(title, alt.Scale(zero=True)), column, marks, TOOLTIP
        ).properties(width=185, height=150, title=_called(of_task))
        for column, title in VIEWS.items()
        for of_task in _parts(rows, "task")
    ]
    named = alt.Title(rows.column("model")[0].as_py(), anchor="start")
    chart: alt.ConcatChart = alt.concat(*panels, columns=4).properties(title=named)
    return chart


def _called(rows: pa.Table) -> str:
    task, family = (rows.column(name)[0].as_py() for name in ("task", "family"))
    return f"{task} ({'writes' if family == 'generative' else 'chooses'})"


def _parts(rows: pa.Table, column: str) -> list[pa.Table]:
    """The rows of each value of the column, in order."""
    values = rows.column(column).unique().to_pylist()
    return [rows.filter(pc.equal(rows.column(column), value)) for value in values]
