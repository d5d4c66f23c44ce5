"""The logit shift Δz, split by what each history adds.

The left panel shows the shares of Δz that come from four causes: the edited parameters at the
current token, the perturbed keys and values of the prompt, those of the same generated tokens, and
the tokens on which the two texts differ. They are the terms of Eq. 70, and their shares at a step
sum to one; a negative share points against the others. The right panel shows the KL divergence once
each cause is added, from reading the dense model's cache to free running. Points are means over
prompts, whiskers are 95 % intervals over prompts (Student's t), for greedy decoding at T = 1. A
whisker of KL that reaches down to zero ends at the edge of the panel. Look for how much of the
shift is there before the tokens differ.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

TERMS = {
    "parameters": ("current parameters", charts.BLUE),
    "prompt_history": ("+ prompt history", charts.GREEN),
    "generated_history": ("+ generated history", "#c2569a"),
    "diverged_tokens": ("+ diverged tokens", charts.ORANGE),
}


def draw(rows: pa.Table) -> ChartType:
    """Shares of Δz and KL by variant, with a mark per term."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    floor = 0.5 * min(each for each in rows.column("kl").to_pylist() if each > 0)
    lows = [None if low is None else max(low, floor) for low in rows.column("kl_low").to_pylist()]
    place = rows.schema.get_field_index("kl_low")
    rows = rows.set_column(place, "kl_low", pa.array(lows, pa.float64()))
    panels = [
        _panel(rows, "mean_share", "share", "Share of Δz (shares sum to 1)", alt.Scale()),
        _panel(rows, "kl", "kl", "KL(p‖q) in nats", charts.LOG_SCALE),
    ]
    return alt.concat(*panels, columns=2, spacing=30)


def _panel(
    rows: pa.Table, column: str, bounds: str, title: str, scale: alt.Scale
) -> alt.LayerChart:
    variants = rows.column("variant").unique().to_pylist()
    names = {term: name for term, (name, _) in TERMS.items()}
    color = alt.Color(
        "term:N",
        scale=alt.Scale(domain=list(TERMS), range=[color for _, color in TERMS.values()]),
        legend=alt.Legend(title=None, orient="top", labelExpr=f"{names}[datum.value]", columns=2),
    )
    axis = alt.Axis(title=title, tickCount=5)
    base = alt.Chart(rows).encode(
        alt.Y("variant:N", sort=variants, title=None),
        color,
        yOffset=alt.YOffset("term:N", sort=list(TERMS)),
        tooltip=["variant:N", "term:N", f"{column}:Q", f"{bounds}_low:Q", f"{bounds}_high:Q"],
    )
    whiskers = base.mark_rule(strokeWidth=1.5).encode(
        alt.X(f"{bounds}_low:Q", axis=axis, scale=scale), alt.X2(f"{bounds}_high:Q")
    )
    points = base.mark_point(filled=True, size=40, opacity=1).encode(
        alt.X(f"{column}:Q", axis=axis, scale=scale)
    )
    layers: alt.LayerChart = alt.layer(whiskers, points)  # type: ignore[assignment]
    return layers.properties(width=330, height=38 * len(variants))
