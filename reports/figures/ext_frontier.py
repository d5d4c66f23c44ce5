"""The efficient frontier: what a variant saves against the score that it loses.

Each point is a variant, with the share of dense that it saves and the mean score that it loses in
each family of tasks; bars are 95 % intervals over items. The reader picks what is saved: bytes of
the weights, bytes of the key-value cache, or time per decoded token. The line joins the efficient
variants, which no other one beats: it may lose less only if it also saves less. A variant that runs
dense's operations saves no time and has no point there. Look for a point far to the right that is
still near zero, and whether it is the same one in both panels. Differences within the bars are no
order.
"""

from collections.abc import Iterator

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts, pickers

FAMILIES = {"non_generative": "Multiple-choice tasks", "generative": "Generation tasks"}
GAINS = {
    "weights": "bytes of weights",
    "kv_cache": "bytes of key-value cache",
    "decode_time": "time per decoded token",
}
SIZE = (330, 240)
TOOLTIP = [
    alt.Tooltip("variant:N"),
    alt.Tooltip("saved:Q", title="saved", format=".1%"),
    alt.Tooltip("lost:Q", title="lost score", format=".1%"),
    alt.Tooltip("lost_low:Q", title="95 % interval from", format=".1%"),
    alt.Tooltip("lost_high:Q", title="to", format=".1%"),
    alt.Tooltip("n_items:Q", title="items"),
]


def draw(rows: pa.Table) -> ChartType:
    """A panel per family of tasks; the reader picks what is saved."""
    gain = pickers.picker(rows, "gain", "Saved", GAINS.__getitem__, first="weights")
    return pickers.with_pickers(charts.figure(rows, _one_model, __doc__), gain)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    return alt.concat(*_panels(rows), columns=2, spacing=24)


def _panels(rows: pa.Table) -> Iterator[alt.LayerChart]:
    methods = rows.column("method").unique().to_pylist()
    saved = charts.padded([0, *rows.column("saved").to_pylist()], 0.12)
    for family, name in FAMILIES.items():
        of_family = charts.where(rows, "task_family", family)
        if of_family.num_rows:
            yield _panel(of_family, methods, saved).properties(
                width=SIZE[0], height=SIZE[1], title=_title(of_family, name)
            )


def _title(rows: pa.Table, name: str) -> alt.Title:
    tested = rows.column("is_tested")[0].as_py()
    n_items = f"{rows.column('n_items')[0]} items"
    return alt.Title(
        name, subtitle=n_items if tested else f"{n_items}; dense itself may be guessing"
    )


def _panel(rows: pa.Table, methods: list[str], saved: tuple[float, float]) -> alt.LayerChart:
    """Points with intervals, the line through the efficient ones, and the level of dense."""
    ends = [v for name in ("lost", "lost_low", "lost_high") for v in rows[name].to_pylist()]
    lost = charts.padded([0, *(value for value in ends if value is not None)], 0.08)
    ranges = {"saved": saved, "lost": lost}
    of_gains = [charts.where(rows, "gain", gain) for gain in GAINS]
    labelled = pa.concat_tables(
        charts.with_label_sides(each, ranges, SIZE, label="variant") for each in of_gains
    )
    x = alt.X(
        "saved:Q",
        axis=alt.Axis(title="Saved share of dense", format="%", tickCount=5),
        scale=alt.Scale(domain=saved, nice=False),
    )
    axis = alt.Axis(title="Lost score (points of 100)", labelExpr="datum.value * 100", tickCount=5)
    scale = alt.Scale(domain=lost, nice=False)
    base = alt.Chart(labelled)
    dense = base.mark_rule(strokeDash=[3, 3], color="#808080").encode(y=alt.datum(0))
    bars = base.mark_rule(color="#808080", strokeWidth=1.2).encode(
        x, alt.Y("lost_low:Q", axis=axis, scale=scale), alt.Y2("lost_high")
    )
    line = base.transform_filter(alt.datum.is_efficient).mark_line(
        color="#808080", strokeWidth=1.5, opacity=0.7, interpolate="step-before"
    )
    height = alt.Y("lost:Q", axis=axis, scale=scale)
    points = charts.points_by_method(labelled, methods, label="variant")
    layers: alt.LayerChart = alt.layer(  # type: ignore[assignment] # no facets inside
        dense, bars, line.encode(x, height), points.encode(x, height, tooltip=TOOLTIP)
    )
    return layers
