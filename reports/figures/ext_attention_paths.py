"""Changes of attention outputs: by values or weights, at prompt keys or generated keys.

The change Δo of each attention output is split exactly into three paths: changed values under dense
weights (value path), changed weights over dense values (weight path), and both changes at once
(interaction). Each path is split again by whether the key is in the prompt or among the generated
tokens. Lines are mean signed shares of Δo; at each point the six shares sum to one. The columns are
either one attention edited at a time on dense input, or the whole variant on the dense model's
tokens, where the errors of earlier layers and positions count too. Blocks whose attention is
dropped have no point, nor have blocks before the first edited one, because nothing changes there.

Look for the path with the larger share and for an interaction near zero. In the lower panels, look
for how the share of generated keys (solid) and of prompt keys (dashed) changes as the answer grows.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

PATHS = {"value": charts.BLUE, "weight": charts.ORANGE, "interaction": charts.GREEN}
KEYS = {"generated": (1, 0), "prompt": (4, 3)}
CAUSES = {"edited_sublayer": "each attention edited alone", "teacher_forced": "whole variant"}
ALONG = {"block": "Block", "step": "Step (decoded token)"}

SHARE = charts.Value("Share of Δo")


def draw(rows: pa.Table) -> ChartType:
    """Shares over depth above and over decoding steps below; a column per variant and cause."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.VConcatChart:
    columns = [
        (history, variant)
        for history in CAUSES
        for variant in sorted(
            charts.where(rows, "history", history)["variant"].unique().to_pylist()
        )
    ]
    panels = [
        alt.hconcat(
            *(
                _panel(
                    charts.where(charts.where(of_place, "history", history), "variant", variant),
                    title,
                    [variant, CAUSES[history]],
                )
                for history, variant in columns
            ),
            spacing=12,
        ).resolve_scale(x="shared", y="shared")
        for along, title in ALONG.items()
        if (of_place := charts.where(rows, "along", along)).num_rows
    ]
    return alt.vconcat(*panels)


def _panel(rows: pa.Table, along: str, heading: list[str]) -> alt.LayerChart:
    """Six lines: colours are paths and dashes are keys; dots mark the blocks that have rows."""
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
