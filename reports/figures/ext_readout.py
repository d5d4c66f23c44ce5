"""States between blocks, read by lm_head alone and after the final norm.

One sublayer at a time is dropped, at T = 1. The paper reads a state between blocks by lm_head alone
(Eq. 2), and so do all other figures here. The usual logit lens applies the final norm first, as the
model itself does with its last state. The norm decides how large the logits are, and so how peaked
the probabilities are. The upper row shows the mean similarity of logits and probabilities with the
dense ones; the lower row the median relative error of the theorems, on a logarithmic axis. What
differs between the left half and the right half is a property of the readout, not of the model.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

READOUTS = {"lm_head": "lm_head alone (Eq. 2)", "final_norm": "after the final norm"}
SUBLAYERS = {"attn": "attention dropped", "mlp": "MLP dropped"}

COLORS = {
    "logit": charts.SPACES["logit"],
    "probability": charts.SPACES["probability"],
    "Theorem 1 in z": charts.GREEN,
    "Theorem 2": charts.ORANGE,
    "Theorem 3": charts.BLUE,
}
"""A theorem has the colour of the space whose angle it estimates; KL, which has none, is blue."""


def draw(rows: pa.Table) -> ChartType:
    """Similarity above and errors below; a column per readout and kind of sublayer."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> ChartType:
    similarity = charts.Value("Cosine similarity", alt.Scale(zero=False))
    error = charts.Value("Relative error", charts.LOG_SCALE)
    panels = [_panels(rows, "similarity", similarity), _panels(rows, "error", error)]
    both: alt.VConcatChart = alt.vconcat(*panels).resolve_scale(color="independent")
    return both


def _panels(rows: pa.Table, quantity: str, y: charts.Value) -> alt.FacetChart:
    of_quantity = charts.where(rows, "quantity", quantity)
    names = [series for series in COLORS if series in of_quantity["series"].unique().to_pylist()]
    panel = [
        f"{READOUTS[row['readout']]}, {SUBLAYERS[row['sublayer']]}"
        for row in of_quantity.to_pylist()
    ]
    order = [f"{way}, {kind}" for way in READOUTS.values() for kind in SUBLAYERS.values()]
    scale = alt.Scale(domain=names, range=[COLORS[series] for series in names])
    label = f"{charts.SPACE_NAMES}[datum.label] || datum.label"
    legend = alt.Legend(title=None, orient="top", labelExpr=label)
    facets: alt.FacetChart = (
        alt.Chart(of_quantity.append_column("panel", pa.array(panel, pa.string())))
        .mark_line(strokeWidth=1.8)
        .encode(
            charts.BLOCK,
            y.of("shown"),
            alt.Color("series:N", scale=scale, legend=legend),
            tooltip=["series:N", "block:Q", alt.Tooltip("shown:Q", title="value")],
        )
        .properties(width=190, height=150)
        .facet(alt.Facet("panel:N", title=None, sort=order), columns=4)
    )
    return facets
