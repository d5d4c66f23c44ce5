"""What dropped sublayers cost, by criterion, text and search with which they are chosen.

Each column drops one kind of part, each row shows one measure: the KL divergence of the next
token's probabilities on the traced prompts, by which nothing is chosen, and the change of each
task's score, with its 95 % interval over items. "cosine on calibration, one shot" is the published
choice. Other lines choose on other text, by the output's divergence or by its estimate (Theorem
3), at once or one part after another. Look for lines that stay near zero where the published one
has left it, and for intervals that do not overlap. All variants of a size are scored on the same
items.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts


def draw(rows: pa.Table) -> ChartType:
    """A panel per measure and kind of part, a line per way to choose."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    parts = charts.dropped_parts(rows)
    panels = [
        _panel(of_measure, measure, title)
        for measure in rows.column("measure").unique().to_pylist()
        for kind, title in parts.items()
        if (of_measure := _both(rows, measure, kind)).num_rows
    ]
    return alt.concat(*panels, columns=len(parts))


def _both(rows: pa.Table, measure: str, kind: str) -> pa.Table:
    return charts.where(charts.where(rows, "measure", measure), "dropped", kind)


def _panel(rows: pa.Table, measure: str, title: str) -> alt.LayerChart:
    """Points with intervals; those of one size stand side by side."""
    value = charts.Value(measure)
    base = alt.Chart(rows).encode(
        alt.X("n_drop:O", axis=alt.Axis(title="Number dropped", labelAngle=0)),
        alt.XOffset("chosen_by:N"),
        alt.Color("chosen_by:N", legend=alt.Legend(title=None, labelLimit=320)),
        tooltip=["chosen_by:N", "n_drop:O", "value:Q", "low:Q", "high:Q", "n:Q"],
    )
    interval = base.mark_rule(strokeWidth=1.5).encode(value.of("low"), alt.Y2("high:Q"))
    point = base.mark_point(filled=True, size=40, opacity=1).encode(value.of("value"))
    panel: alt.LayerChart = alt.layer(interval, point).properties(  # type: ignore[assignment]
        width=260, height=170, title=title
    )
    return panel
