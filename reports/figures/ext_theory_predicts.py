"""What Theorem 3 says of a variant before any task is run, beside what the tasks then say.

Above, each variant's estimate of KL from 12 prompts against the share of dense's score that it
loses, tasks that choose beside tasks that write; every point is one variant. Below, how well this
and other label-free numbers order the losses: Spearman's rank correlation over the variants, with
95 % bootstrap intervals (variants drawn again). Of the histories, teacher forcing is the fair one.
It is what a variant needs once, on texts that dense has written, and its own cache carries its
errors along, as in a task; free running would measure how far two texts have parted, which is much
the same for every variant once they have, and dense's cache would hide what accumulates. T = 1 is
where tasks read their likelihoods, and greedy answers are the same at any T. Numbers are means over
the steps of a prompt, then over prompts. The losses are means over the tasks of a family.

Look for whether the points rise from left to right, and whether an interval below clears zero.
With so few variants and items intervals are wide: that two numbers differ is not shown by their
order here.
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
    "non_generative": ("tasks that choose", charts.BLUE),
    "generative": ("tasks that write", charts.ORANGE),
}
SIZE = (400, 240)
TOOLTIP = ["variant:N", "size:Q", "lost:Q"]


def draw(rows: pa.Table) -> ChartType:
    """A panel of points per family, and below them every predictor's rank correlation."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__, _asked(rows))


def _one_model(rows: pa.Table) -> alt.VConcatChart:
    rows = rows.sort_by([("size", "ascending")])
    scored = rows.filter(pc.is_valid(rows.column("lost")))
    theorem = scored.filter(pc.equal(scored.column("predictor"), "theorem_3"))
    shown = [family for family in FAMILIES if family in theorem["family"].to_pylist()]
    panels = [_points(theorem.filter(pc.equal(theorem["family"], family))) for family in shown]
    unlabelled = rows.append_column("label_side", pa.array([""] * rows.num_rows))
    above = [alt.hconcat(*panels, spacing=24)] if panels else []
    chart: alt.VConcatChart = alt.vconcat(*above, _ranks(unlabelled)).resolve_scale(
        color="independent", shape="independent"
    )
    return chart


def _points(rows: pa.Table) -> alt.LayerChart:
    """Loss against Theorem 3's estimate, a point per variant of one family's losses."""
    decades = charts.padded(rows.column("decade").to_pylist(), 0.12)
    lost = charts.padded(rows.column("lost").to_pylist(), 0.1)
    labelled = charts.with_label_sides(rows, {"decade": decades, "lost": lost}, SIZE, "variant")
    chart = charts.points_by_method(labelled, rows["method"].unique().to_pylist(), "variant")
    x = alt.X(
        "size:Q",
        axis=alt.Axis(title="Theorem 3's estimate of KL (nats)", tickCount=5),
        scale=alt.Scale(type="log", domain=[10**decade for decade in decades], nice=False),
    )
    y = charts.Value("Share of dense's score lost", alt.Scale(domain=lost, nice=False))
    name, _ = FAMILIES[rows.column("family")[0].as_py()]
    panel: alt.LayerChart = chart.encode(x, y.of("lost"), tooltip=TOOLTIP)
    return panel.properties(width=SIZE[0], height=SIZE[1], title=name)


def _ranks(rows: pa.Table) -> alt.LayerChart:
    """Rank correlation of each predictor with the loss, a colour per family."""
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
        tooltip=["predictor:N", "family:N", "spearman:Q", "low:Q", "high:Q", "variants:Q"],
    )
    axis = alt.Axis(title="Rank correlation with the share lost", tickCount=5)
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


def _asked(rows: pa.Table) -> list[str]:
    """The tasks behind each family's loss, one line."""
    tasks = dict(zip(rows["family"].to_pylist(), rows["task_names"].to_pylist(), strict=True))
    named = {name: tasks[family] for family, (name, _) in FAMILIES.items() if family in tasks}
    return ["; ".join(f"{name}: {listed}" for name, listed in named.items())]
