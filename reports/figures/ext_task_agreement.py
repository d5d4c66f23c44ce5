"""Flipped outcomes, changed answers and repetition, which scores do not show.

All tasks of Table 1 on the same items, with a point per variant; dense is grey. The upper row
shows, from left to right, how much the score fell; the share of items whose outcome flipped in
either direction (graded outcomes count as right from 0.5 on); and the share of items whose answer,
an option or a text, differs from the dense model's. The lower row is about generation tasks only
and needs no labels: the share of positions with another token than the dense text, relative to the
longer of the two texts; the share of 4-grams that occurred before in the text; and the share of
texts that ended before the maximum length.

Look at tasks near the floor. A score near zero cannot fall and few outcomes can flip, but the
answers of a damaged model can still change and become repetitive.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

OF_ALL = {
    "score_lost": "Score lost",
    "flipped": "Outcomes flipped",
    "answers_changed": "Answers changed",
}
OF_TEXTS = {
    "tokens_changed": "Tokens changed",
    "repeated": "4-grams repeated",
    "stopped": "Texts that ended",
}
DENSE = "#808080"
TOOLTIP = ("score", "to_wrong", "to_right", "answers_changed", "tokens_changed", "repeated")
COLORS = (charts.BLUE, charts.ORANGE, charts.GREEN, "#7a6bc4", "#c2569a", "#9a8035")


def draw(rows: pa.Table) -> ChartType:
    """A panel per measure, a row per task and a point per variant."""
    families = (rows.filter(pc.invert(_is_generation(rows))), rows.filter(_is_generation(rows)))
    subtitle = [
        line for family in families if family.num_rows for line in charts.items_and_shots(family)
    ]
    return charts.figure(rows, _one_model, __doc__, subtitle)


def _is_generation(rows: pa.Table) -> pa.ChunkedArray:
    return pc.equal(rows.column("family"), "generative")


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    texts = rows.filter(_is_generation(rows))
    panels = [_panel(rows, column, title) for column, title in OF_ALL.items()]
    panels += [_panel(texts, column, title) for column, title in OF_TEXTS.items()]
    chart: alt.ConcatChart = alt.concat(*panels, columns=len(OF_ALL))
    return chart


def _panel(rows: pa.Table, column: str, title: str) -> alt.Chart:
    variants = [name for name in rows.column("variant").unique().to_pylist() if name != "dense"]
    tasks = rows.column("task").unique().to_pylist()
    shares = alt.Scale() if column == "score_lost" else alt.Scale(domain=[0, 1])
    colors = alt.Scale(
        domain=["dense", *variants],
        range=[DENSE, *(COLORS[index % len(COLORS)] for index in range(len(variants)))],
    )
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_point(filled=True, size=55, opacity=0.9)
        .encode(
            alt.X(
                f"{column}:Q",
                axis=alt.Axis(title=title, format="%", tickCount=4),
                scale=shares,
            ),
            alt.Y("task:N", sort=tasks, title=None, axis=alt.Axis(grid=True)),
            alt.Color("variant:N", scale=colors, legend=alt.Legend(title=None, orient="top")),
            alt.Shape("variant:N", sort=["dense", *variants], legend=None),
            tooltip=[
                "task:N",
                "variant:N",
                *(alt.Tooltip(f"{name}:Q", format=".1%") for name in TOOLTIP),
                alt.Tooltip("parted:Q", title="median token of divergence"),
                "n_items:Q",
                "n_shot:Q",
            ],
        )
        .properties(width=210, height=16 * len(tasks))
    )
    return chart
