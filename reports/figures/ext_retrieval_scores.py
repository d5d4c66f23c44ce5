"""Retrieval scores under compression.

The chart shows nDCG@10 of an embedding model with mean pooling, for SQuAD questions against
paragraphs: against the number of dropped attention sublayers, MLP sublayers or blocks (the least
influential in that model first), and under each pattern of zeroed weights. Bands and whiskers are
95 % bootstrap intervals over queries; dashed lines are the dense model. A random ranking scores
below 0.1. Look for how far each curve
stays level, and compare with the generation tasks in Figures 1, 3 and 9. MiniLM has only six
attention and six MLP sublayers. Retrieval by the language model's own last hidden state is in Table
1.
"""

import functools

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

TOOLTIP = (
    "retrieval_set:N",
    "n_drop:Q",
    "pattern:N",
    "score:Q",
    "chance:Q",
    "recall:Q",
    "n_queries:Q",
)
NDCG = charts.Value("nDCG@10", alt.Scale(zero=True))


def draw(rows: pa.Table) -> ChartType:
    """A panel per kind of dropped part and per method, with a line per retrieval set."""
    sets = rows.column("retrieval_set").unique().to_pylist()
    scale = alt.Scale(domain=sets, range=[charts.BLUE, charts.GREEN, charts.ORANGE][: len(sets)])
    color = alt.Color("retrieval_set:N", scale=scale, legend=alt.Legend(title=None, orient="top"))
    one_model = functools.partial(_one_model, color=color)
    return charts.figure(rows, one_model, __doc__)


def _one_model(rows: pa.Table, color: alt.Color) -> alt.ConcatChart:
    panels = []
    for kind, name in charts.dropped_parts(rows).items():
        of_kind = charts.where(rows, "dropped", kind)
        panels.append((charts.over_drops(of_kind, NDCG, "score", [color], TOOLTIP), name))
    for method in rows.column("method").drop_null().unique().to_pylist():
        of_method = charts.where(rows, "method", method)
        panels.append(
            (charts.over_patterns(of_method, NDCG, "score", color, TOOLTIP), f"pruned by {method}")
        )
    sized = [panel.properties(width=320, height=190, title=name) for panel, name in panels]
    chart: alt.ConcatChart = alt.concat(*sized, columns=2)
    return chart
