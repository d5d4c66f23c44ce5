"""Attention outputs: what moves them, values or weights, over prompt or generated keys.

The change Δo of every attention's output is split exactly: values moved under dense weights (value
path), weights moved over dense values (weight path), and both at once (interaction), each by where
the key stands. Lines are mean signed shares of Δo; at each place the six sum to one. Columns: one
attention edited at a time on dense input, or the whole variant on the dense model's tokens, where
earlier layers and positions move it too. A block whose attention is dropped has no point, nor has
one before the first that is edited: nothing moves there.

Look for which colour carries more, for interaction near zero, and below for how the generated
keys (solid) take over from the prompt's (dashed) as the answer grows.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

PATHS = {"value": charts.BLUE, "weight": charts.ORANGE, "interaction": charts.GREEN}
KEYS = {"generated": (1, 0), "prompt": (4, 3)}
CAUSES = {"edited_sublayer": "each attention edited alone", "teacher_forced": "whole variant"}
ALONG = {"block": "Block", "step": "Step (decoded token)"}

SHARE = charts.Value("Share of Δo")


def draw(rows: pa.Table) -> ChartType:
    """Above over depth, below over steps; a column per variant and cause."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> alt.VConcatChart:
    columns = [
        (history, variant)
        for history in CAUSES
        for variant in sorted(_where(rows, "history", history)["variant"].unique().to_pylist())
    ]
    panels = [
        alt.hconcat(
            *(
                _panel(
                    _where(_where(of_place, "history", history), "variant", variant),
                    title,
                    [variant, CAUSES[history]],
                )
                for history, variant in columns
            ),
            spacing=12,
        ).resolve_scale(x="shared", y="shared")
        for along, title in ALONG.items()
        if (of_place := _where(rows, "along", along)).num_rows
    ]
    return alt.vconcat(*panels)


def _panel(rows: pa.Table, along: str, heading: list[str]) -> alt.LayerChart:
    """Six lines, colour for the path and dash for the keys; dots show blocks left out."""
    color = alt.Scale(domain=list(PATHS), range=list(PATHS.values()))
    dash = alt.Scale(domain=list(KEYS), range=[list(dash) for dash in KEYS.values()])
    axis = alt.Axis(title=along, format="d", tickMinStep=1, tickCount=5)
    base = alt.Chart(rows).encode(
        alt.X("place:Q", axis=axis, scale=alt.Scale(nice=False)),
        SHARE.of("mean_share"),
        alt.Color("path:N", scale=color, legend=alt.Legend(title="Path", orient="top")),
        tooltip=["path:N", "keys:N", "along:N", "place:Q", "mean_share:Q", "prompts:Q"],
    )
    line = base.mark_line(strokeWidth=1.5).encode(
        alt.StrokeDash("keys:N", scale=dash, legend=alt.Legend(title="Keys", orient="top"))
    )
    dots = base.transform_filter("datum.along == 'block'").mark_point(filled=True, size=10)
    layers: alt.LayerChart = alt.layer(line, dots)  # type: ignore[assignment] # no facets inside
    return layers.properties(
        width=190, height=170, title=alt.Title(heading[0], subtitle=heading[1])
    )


def _where(rows: pa.Table, column: str, value: str) -> pa.Table:
    return rows.filter(pc.equal(rows.column(column), value))
