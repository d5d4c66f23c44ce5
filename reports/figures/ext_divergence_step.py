"""Share of greedy texts that are still the dense model's, step by step.

Each line is a variant in the colour of its method; variants of one method differ in their dashes.
It shows the share of prompts whose text is the same as the dense model's, token for token, up to a
step. A line that falls at once belongs to a variant that changes the first token of most answers.
The level at the right end is the share of texts that never change. Look for whether quantized
models diverge later than pruned ones, and for the order within a method.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [1, 3], [10, 4])


def draw(rows: pa.Table) -> ChartType:
    """A step function per variant."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.Chart:
    methods = dict(zip(rows["variant"].to_pylist(), rows["method"].to_pylist(), strict=True))
    counts: dict[str, int] = {}
    dashes = []
    for method in methods.values():
        dashes.append(DASHES[counts.setdefault(method, 0) % len(DASHES)])
        counts[method] += 1
    legend = alt.Legend(title=None, orient="right", symbolStrokeWidth=2.5)
    names = list(methods)
    colors = [charts.METHODS[method][0] for method in methods.values()]
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_line(strokeWidth=2, interpolate="step-after")
        .encode(
            alt.X("step:Q", axis=alt.Axis(title="Step (decoded token)", format="d", tickMinStep=1)),
            charts.Value("Share of texts equal to dense").of("staying"),
            alt.Color("variant:N", scale=alt.Scale(domain=names, range=colors), legend=legend),
            alt.StrokeDash("variant:N", scale=alt.Scale(domain=names, range=dashes), legend=legend),
            tooltip=[
                "variant:N",
                "step:Q",
                alt.Tooltip("staying:Q", title="share of texts"),
                "prompts:Q",
            ],
        )
        .properties(width=560, height=280)
    )
    return chart
