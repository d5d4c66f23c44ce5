"""Output error of every compressed linear over depth, methods side by side at equal sparsity.

A linear's error is |(Ŵ − W) X| / |W X|, X its inputs from calibration text once all earlier blocks
have been compressed; a point is the root mean square over the linears of a sublayer, on a
logarithmic axis. Columns hold what is alike in size: half of all weights removed in three
patterns, or four bits a weight. Look for which method lies lowest, and whether its lead lasts
through the depth of the model, where the errors of all earlier blocks add up in X.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

ERROR = charts.Value("Relative output error", charts.LOG)


def draw(rows: pa.Table) -> ChartType:
    """A panel per sublayer and strength; one line per method."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> alt.FacetChart:
    color, shape = charts.method_marks(rows.column("method").unique().to_pylist())
    base = alt.Chart(rows).encode(
        charts.BLOCK,
        ERROR.of("error"),
        color,
        tooltip=["method:N", "variant:N", "strength:N", "block:Q", "error:Q", "sparsity:Q"],
    )
    line = base.mark_line(strokeWidth=1.4)
    dots = base.mark_point(filled=True, size=22, opacity=1).encode(shape)
    strengths = sorted(rows.column("strength").unique().to_pylist(), key=_size)
    kinds = alt.Header(labelExpr="{attn: 'Attention', mlp: 'MLP'}[datum.value]")
    return (
        alt.layer(line, dots)
        .properties(width=190, height=190)
        .facet(
            column=alt.Column("strength:N", title=None, sort=strengths),
            row=alt.Row("sublayer:N", title=None, header=kinds),
        )
    )


def _size(strength: str) -> tuple[bool, int, str]:
    """Sparsities before patterns before bits; larger groups first."""
    head, _, tail = strength.partition(":")
    return "bits" in strength, -int(tail) if tail else -1000, head
