"""Figure 8. Multiple choice: the whole vocabulary and the options alone.

Each column is a prompt, at the first step of the answer and T = 1. Row (a) shows the probabilities
of the five most likely tokens of the dense model and of the variant, sorted by the dense
probability; tokens of options are in brackets. Row (b) shows the log-likelihoods of the options. In
each panel the filled points are the most likely token of each model. If the filled points of both
models lie at the same token, the choice has survived. Look for whether it survives among the
options more often than in the vocabulary.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

PANELS = {
    "vocabulary": ("(a) likeliest tokens", charts.Value("Probability")),
    "options": ("(b) options", charts.Value("Log-likelihood (nats)", alt.Scale(zero=False))),
}

SIDES = {"dense": (charts.BLUE, "circle"), "variant": (charts.ORANGE, "diamond")}

LABEL = "datum.panel == 'vocabulary' && datum.is_option ? '[' + datum.written + ']' : datum.written"


def draw(rows: pa.Table) -> ChartType:
    """Two rows of panels per variant and a column per prompt."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.VConcatChart:
    variants = [
        _one_variant(charts.where(rows, "variant", name)).properties(title=f"dense and {name}")
        for name in rows["variant"].unique().to_pylist()
    ]
    return alt.vconcat(*variants)


def _one_variant(rows: pa.Table) -> alt.VConcatChart:
    prompts = sorted(rows["prompt"].unique().to_pylist())
    panels = [
        alt.hconcat(
            *(
                _panel(
                    charts.where(of_panel, "prompt", prompt), value, heading=f"{title}, {prompt}"
                )
                for prompt in prompts
            ),
            spacing=14,
        ).resolve_scale(y="shared")
        for panel, (title, value) in PANELS.items()
        if (of_panel := charts.where(rows, "panel", panel)).num_rows
    ]
    return alt.vconcat(*panels)


def _panel(rows: pa.Table, value: charts.Value, heading: str) -> alt.LayerChart:
    """Tokens from left to right, with a line and points per model."""
    sides = list(SIDES)
    legend = alt.Legend(title=None, orient="top", symbolFillColor="transparent")
    color = alt.Scale(domain=sides, range=[color for color, _ in SIDES.values()])
    shape = alt.Scale(domain=sides, range=[shape for _, shape in SIDES.values()])
    base = (
        alt.Chart(rows)
        .transform_calculate(label=LABEL)
        .encode(
            alt.X(
                "label:N",
                title=None,
                sort=alt.EncodingSortField("place", op="min"),
                axis=alt.Axis(labelAngle=-40, labelLimit=90),
            ),
            value.of("shown"),
            alt.Color("side:N", scale=color, legend=legend),
            tooltip=[
                "prompt:N",
                "written:N",
                "token:Q",
                "side:N",
                alt.Tooltip("shown:Q", title="value"),
                "is_likeliest:N",
            ],
        )
    )
    line = base.mark_line(strokeWidth=1, opacity=0.5)
    points = base.mark_point(size=70, strokeWidth=1.6, fillOpacity=1).encode(
        alt.Shape("side:N", scale=shape, legend=legend),
        fill=alt.when("datum.is_likeliest").then(alt.Color("side:N", scale=color, legend=None)),
    )
    layers: alt.LayerChart = alt.layer(line, points)  # type: ignore[assignment] # no facets inside
    return layers.properties(width=215, height=150, title=heading)
