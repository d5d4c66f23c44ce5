"""Output error of compressed linears over depth, by method.

The error of a linear is |(Ŵ − W) X| / |W X|, where X are its inputs from calibration text after all
earlier blocks have been compressed. A point is the root mean square over the linears of a sublayer,
on a logarithmic axis. Each column holds variants of the same size: half of all weights removed in
one of three patterns, or four bits per weight. Look for the method with the lowest line, and
whether it stays the lowest in later blocks, where X carries the errors of all earlier ones.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

ERROR = charts.Value("Relative output error", charts.LOG_SCALE)


def draw(rows: pa.Table) -> ChartType:
    """A panel per kind of sublayer and strength, with a line per method."""
    return charts.figure(rows, _one_model, __doc__)


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
    """Sort key: sparsities, then patterns with larger groups first, then bits."""
    head, _, tail = strength.partition(":")
    return "bits" in strength, -int(tail) if tail else -1000, head
