"""States between blocks read in two ways: by lm_head alone, and after the final norm.

One sublayer at a time is dropped, T = 1. The paper reads a state between blocks by lm_head alone
(Eq. 2), and so does every other figure here; the usual logit lens norms it first, as the model
itself does with the last one. The norm decides how large the logits are, and so how peaked the
probabilities: above, the mean similarity with dense in logits and probabilities; below, the median
relative error of the theorems that predict it, on a logarithmic axis. Look for what differs between
the left half and the right: it is a property of the way of reading, not of the model.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
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
"""A theorem has the colour of the space whose angle it predicts; KL has none, and takes blue."""


def draw(rows: pa.Table) -> ChartType:
    """Similarity above, errors below; a column for each way of reading and kind of sublayer."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> ChartType:
    similarity = charts.Value("Cosine similarity", alt.Scale(zero=False))
    error = charts.Value("Relative error", charts.LOG)
    panels = [_panels(rows, "similarity", similarity), _panels(rows, "error", error)]
    both: alt.VConcatChart = alt.vconcat(*panels).resolve_scale(color="independent")
    return both


def _panels(rows: pa.Table, quantity: str, y: charts.Value) -> alt.FacetChart:
    here = rows.filter(pc.equal(rows["quantity"], quantity))
    shown = [series for series in COLORS if series in here["series"].unique().to_pylist()]
    panel = [
        f"{READOUTS[row['readout']]}, {SUBLAYERS[row['sublayer']]}" for row in here.to_pylist()
    ]
    order = [f"{way}, {kind}" for way in READOUTS.values() for kind in SUBLAYERS.values()]
    scale = alt.Scale(domain=shown, range=[COLORS[series] for series in shown])
    facets: alt.FacetChart = (
        alt.Chart(here.append_column("panel", pa.array(panel, pa.string())))
        .mark_line(strokeWidth=1.8)
        .encode(
            charts.BLOCK,
            y.of("shown"),
            alt.Color("series:N", scale=scale, legend=alt.Legend(title=None, orient="top")),
            tooltip=["series:N", "block:Q", "shown:Q"],
        )
        .properties(width=190, height=150)
        .facet(alt.Facet("panel:N", title=None, sort=order), columns=4)
    )
    return facets
