"""Theorem 3's estimate of KL as a predictor of task losses.

In the upper panels each point is a variant: its estimate of KL from the prompts of config, before
any task is run, against the share of what the dense model scores above chance that it then loses,
for multiple-choice and for generation tasks. The lower panel shows how well this estimate and other
numbers that need no labels order the losses: Spearman's rank correlation over the variants, with
95 % bootstrap intervals over variants. Numbers are means over the steps of a prompt and then over
prompts; losses are means over the tasks of a family.

All numbers are teacher-forced: both models read the dense model's greedy texts, and the variant
reads its own cache, so that its errors accumulate as they do in a task. Free running would mostly
measure how far two texts have diverged, and the dense model's cache would hide errors that
accumulate. T = 1 is the temperature at which tasks read likelihoods, and greedy answers are the
same at all temperatures.

Look for whether the points rise from left to right, and whether an interval in the lower panel
excludes zero. The findings say what choosing between two variants by the estimate would have cost,
beside a coin. With so few variants and items the intervals are wide, so that the order of two
predictors here does not show that they differ.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

PREDICTORS = {
    "theorem_3": "Theorem 3: Var_p(Δz) / 2",
    "measured_kl": "KL(p‖q), measured",
    "deviation_of_p": "1 − cos of p, measured",
    "deviation_of_z": "1 − cos of z, measured",
    "deviation_of_h": "1 − cos of h, measured",
}
FAMILIES = {
    "non_generative": ("multiple-choice tasks", charts.BLUE),
    "generative": ("generation tasks", charts.ORANGE),
}
SIZE = (330, 240)
TOOLTIP = [
    alt.Tooltip("variant:N"),
    alt.Tooltip("size:Q", title="estimate of KL (nats)"),
    alt.Tooltip("lost:Q", title="lost share above chance"),
]


def draw(rows: pa.Table) -> ChartType:
    """A panel of points per family, and below them the rank correlation of each predictor."""
    return charts.figure(rows, _one_model, __doc__, _tasks_of_families(rows))


def _one_model(rows: pa.Table) -> alt.VConcatChart:
    rows = rows.sort_by([("size", "ascending")])
    scored = rows.filter(pc.is_valid(rows.column("lost")))
    theorem = charts.where(scored, "predictor", "theorem_3")
    families = [family for family in FAMILIES if family in theorem["family"].to_pylist()]
    panels = [_points(charts.where(theorem, "family", family)) for family in families]
    unlabelled = rows.append_column("label_side", pa.array([""] * rows.num_rows))
    above = [alt.hconcat(*panels, spacing=24)] if panels else []
    chart: alt.VConcatChart = alt.vconcat(*above, _ranks(unlabelled)).resolve_scale(
        color="independent", shape="independent"
    )
    return chart


def _points(rows: pa.Table) -> alt.LayerChart:
    """The losses of one family against Theorem 3's estimate, a point per variant."""
    decades = charts.padded(rows.column("decade").to_pylist(), 0.12)
    lost = charts.padded(rows.column("lost").to_pylist(), 0.1)
    labelled = charts.with_label_sides(rows, {"decade": decades, "lost": lost}, SIZE, "variant")
    chart = charts.points_by_method(labelled, rows["method"].unique().to_pylist(), "variant")
    x = alt.X(
        "size:Q",
        axis=alt.Axis(title="Theorem 3's estimate of KL (nats)", tickCount=5),
        scale=alt.Scale(type="log", domain=[10**decade for decade in decades], nice=False),
    )
    y = charts.Value("Lost share above chance", alt.Scale(domain=lost, nice=False))
    name, _ = FAMILIES[rows.column("family")[0].as_py()]
    panel: alt.LayerChart = chart.encode(x, y.of("lost"), tooltip=TOOLTIP)
    return panel.properties(width=SIZE[0], height=SIZE[1], title=name)


def _ranks(rows: pa.Table) -> alt.LayerChart:
    """The rank correlation of each predictor with the loss, a colour per family."""
    names = f"({PREDICTORS})[datum.label]"
    families = f"({ {family: name for family, (name, _) in FAMILIES.items()} })[datum.label]"
    scale = alt.Scale(domain=list(FAMILIES), range=[color for _, color in FAMILIES.values()])
    base = alt.Chart(rows).encode(
        alt.Y(
            "predictor:N",
            sort=list(PREDICTORS),
            axis=alt.Axis(title=None, labelExpr=names, labelLimit=220),
        ),
        alt.Color(
            "family:N",
            scale=scale,
            legend=alt.Legend(title=None, orient="top", labelExpr=families, symbolOpacity=1),
        ),
        yOffset=alt.YOffset("family:N", sort=list(FAMILIES)),
        tooltip=[
            "predictor:N",
            "family:N",
            "spearman:Q",
            "low:Q",
            "high:Q",
            "p_value:Q",
            "variants:Q",
        ],
    )
    axis = alt.Axis(title="Rank correlation with the lost share", tickCount=5)
    domain = alt.Scale(domain=[-1, 1])
    zero = alt.Chart(rows).mark_rule(strokeDash=[3, 3], color="#808080").encode(x=alt.datum(0))
    whiskers = base.mark_rule(strokeWidth=1.5).encode(
        alt.X("low:Q", axis=axis, scale=domain), alt.X2("high:Q")
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        alt.X("spearman:Q", axis=axis, scale=domain)
    )
    layers: alt.LayerChart = alt.layer(zero, whiskers, points)  # type: ignore[assignment] # no facets inside
    return layers.properties(width=400, height=200)


def _tasks_of_families(rows: pa.Table) -> list[str]:
    """One line that names the tasks of each family."""
    tasks = dict(zip(rows["family"].to_pylist(), rows["task_names"].to_pylist(), strict=True))
    named = {name: tasks[family] for family, (name, _) in FAMILIES.items() if family in tasks}
    return ["; ".join(f"{name}: {listed}" for name, listed in named.items())]
