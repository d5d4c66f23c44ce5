"""Retrieval reads a hidden state once: what compression costs it.

nDCG@10 of SQuAD questions against paragraphs by an embedding model (mean pooling), against how many
attention sublayers, MLPs or blocks are dropped, the least influential of that very model first, and
under every pattern of zeroed weights; bands and whiskers are 95 % bootstrap intervals over queries,
dashed is dense. Look for how far each curve stays level, and compare with the tasks that write in
Figures 1, 3 and 9; six attention sublayers or MLPs are all that MiniLM has of a kind. The language
model's own last hidden state is scored in Table 1.
"""

import functools

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

TOOLTIP = ("retrieval_set:N", "n_drop:Q", "pattern:N", "score:Q", "recall:Q", "n_queries:Q")
NDCG = charts.Value("nDCG@10", alt.Scale(zero=True))


def draw(rows: pa.Table) -> ChartType:
    """A panel per kind of drop and per method, a line per set; models below one another."""
    sets = rows.column("retrieval_set").unique().to_pylist()
    scale = alt.Scale(domain=sets, range=[charts.BLUE, charts.GREEN, charts.ORANGE][: len(sets)])
    color = alt.Color("retrieval_set:N", scale=scale, legend=alt.Legend(title=None, orient="top"))
    one_model = functools.partial(_one_model, color=color)
    return charts.titled(charts.per_model(rows, one_model), __doc__)


def _one_model(rows: pa.Table, color: alt.Color) -> alt.ConcatChart:
    panels = []
    for kind, name in charts.DROPS.items():
        shown = rows.filter(pc.equal(rows.column("dropped"), kind))
        if shown.num_rows:
            panels.append((charts.over_drops(shown, NDCG, "score", [color], TOOLTIP), name))
    for method in rows.column("method").drop_null().unique().to_pylist():
        shown = rows.filter(pc.equal(rows.column("method"), method))
        panels.append(
            (charts.over_patterns(shown, NDCG, "score", color, TOOLTIP), f"pruned by {method}")
        )
    sized = [panel.properties(width=320, height=190, title=name) for panel, name in panels]
    chart: alt.ConcatChart = alt.concat(*sized, columns=2)
    return chart
