"""Retrieval reads a hidden state once: what dropped sublayers cost it.

nDCG@10 of SQuAD questions against paragraphs, against how many attention sublayers or MLPs are
dropped, the least influential of that very model first; bands are 95 % bootstrap intervals over
queries, dashed is dense. An embedding model (mean pooling) beside the language model's own last
hidden state. Look for how far each curve stays level, and compare with the tasks that write in
Figure 1; six of MiniLM's sublayers are all it has of a kind.
"""

import functools

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope import charts

TOOLTIP = ("retrieval_set:N", "n_drop:Q", "score:Q", "recall:Q", "n_queries:Q")


def draw(rows: pa.Table) -> ChartType:
    """A column per kind of drop, a line per set; models below one another."""
    sets = rows.column("retrieval_set").unique().to_pylist()
    scale = alt.Scale(domain=sets, range=[charts.BLUE, charts.GREEN, charts.ORANGE][: len(sets)])
    color = alt.Color("retrieval_set:N", scale=scale, legend=alt.Legend(title=None, orient="top"))
    one_model = functools.partial(_one_model, color=color)
    return charts.titled(charts.per_model(rows, one_model), __doc__)


def _one_model(rows: pa.Table, color: alt.Color) -> alt.ConcatChart:
    value = charts.Value("nDCG@10", alt.Scale(zero=True))
    panels = []
    for kind, name in charts.DROPS.items():
        shown = rows.filter(pc.equal(rows.column("dropped"), kind))
        if shown.num_rows:
            panel = charts.over_drops(shown, value, "score", [color], TOOLTIP)
            panels.append(panel.properties(width=320, height=190, title=name))
    chart: alt.ConcatChart = alt.concat(*panels, columns=2)
    return chart
