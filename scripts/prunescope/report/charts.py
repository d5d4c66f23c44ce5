"""What the figures share: palette, axes, the two recurring shapes, one chart per model.

Colours are three of the Okabe-Ito hues, told apart under every common colour blindness and at
3:1 or better on white and on near-black. Text and axes take no colour here: the page gives them
the one of its theme.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import labels

alt.data_transformers.disable_max_rows()

BLUE, GREEN, ORANGE = "#1f83c4", "#159a74", "#d55e00"

SPACES = {"embedding": BLUE, "logit": GREEN, "probability": ORANGE}
"""Colour of each space, the same in every figure."""

PENTAGON = "M0,-1L0.95,-0.31L0.59,0.81L-0.59,0.81L-0.95,-0.31Z"
"""A point shape that Vega has no name for."""

METHODS = {
    "identity": ("#808080", "cross"),
    "sublayer_drop": (BLUE, "circle"),
    "block_drop": ("#7a6bc4", "square"),
    "magnitude": ("#9a8035", "triangle-down"),
    "wanda": (ORANGE, "diamond"),
    "sparsegpt": (GREEN, "triangle-up"),
    "neuron": ("#c2569a", "triangle-right"),
    "rtn": ("#4d94a8", "triangle-left"),
    "awq": ("#a0522d", PENTAGON),
}
"""Colour and shape of each method, the same in every figure: the shape tells near hues apart."""

MEAN_SCOPE = "mean over prompts"
"""What queries call rows that are taken over all prompts."""

PER_ROW = 6
"""Small multiples beside each other on a wide screen; the page lowers it on a narrow one."""

_SMALL = {"width": 130, "height": 90}
_WIDE = {"width": 460, "height": 260}

STEP = alt.X(
    "step:Q", axis=alt.Axis(title="Step (decoded token)", format="d", tickMinStep=1, tickCount=4)
)
BLOCK = alt.X(
    "block:Q",
    axis=alt.Axis(title="Block", format="d", tickMinStep=1),
    scale=alt.Scale(nice=False),
)


_SHORT = "format(datum.value, datum.value && abs(log(abs(datum.value))) > log(2e3) ? '~e' : '~g')"


class Value(NamedTuple):
    """The y axis: what it says, and its scale."""

    title: str
    scale: alt.Scale = alt.Scale()

    def of(self, column: str) -> alt.Y:
        """The axis, showing one column."""
        axis = alt.Axis(title=self.title, tickCount=4, labelExpr=_SHORT, labelOverlap=True)
        return alt.Y(f"{column}:Q", axis=axis, scale=self.scale)


LOG = alt.Scale(type="log", nice=False)


class Line(NamedTuple):
    """One line of a chart: the column it shows, its colour, its dash."""

    column: str
    color: str
    dash: tuple[int, int] = (1, 0)


def measured_and_estimated(rows: pa.Table, y: Value, theorem: str) -> alt.LayerChart:
    """The measurement as a line, its prediction dashed over it. Columns measured, estimated."""
    named = {
        "measured": Line("measured", BLUE),
        f"estimated ({theorem})": Line("estimated", ORANGE, (4, 3)),
    }
    return lines(rows, y, named)


def lines(rows: pa.Table, y: Value, named: Mapping[str, Line]) -> alt.LayerChart:
    """Lines over steps, one per entry: its name in the legend, and the column it shows."""
    names = list(named)
    domain = alt.Scale(domain=names, range=[line.color for line in named.values()])
    dashes = alt.Scale(domain=names, range=[list(line.dash) for line in named.values()])
    color: dict[str, Any] = {"scale": domain, "legend": _legend(), "type": "nominal"}
    dash: dict[str, Any] = {"scale": dashes, "legend": _legend(), "type": "nominal"}
    tooltip = [
        *(alt.Tooltip(f"{key}:Q") for key in ("block", "step") if key in rows.column_names),
        *(alt.Tooltip(f"{line.column}:Q", title=name) for name, line in named.items()),
        *([alt.Tooltip("prompts:Q")] if "prompts" in rows.column_names else []),
    ]
    marks = [
        alt.Chart(rows)
        .mark_line(strokeWidth=1.6)
        .encode(
            STEP,
            y.of(line.column),
            alt.ColorDatum(name, **color),
            alt.StrokeDashDatum(name, **dash),
            tooltip=tooltip,
        )
        for name, line in named.items()
    ]
    layers: alt.LayerChart = alt.layer(*marks)  # type: ignore[assignment] # no facets inside
    return layers


def mean_with_range(rows: pa.Table, x: alt.X, y: Value) -> alt.LayerChart:
    """One line per space with a band behind it. Columns space, mean, low, high; noise if dotted."""
    shown = [space for space in SPACES if space in rows.column("space").unique().to_pylist()]
    scale = alt.Scale(domain=shown, range=[SPACES[space] for space in shown])
    color = alt.Color("space:N", scale=scale, legend=_legend())
    tooltip = ["space:N", x.shorthand, "mean:Q", "low:Q", "high:Q"]
    base = alt.Chart(rows).encode(x, color)
    band = base.mark_area(opacity=0.18).encode(y.of("low"), alt.Y2("high:Q"))
    mean = base.mark_line(strokeWidth=2).encode(y.of("mean"), tooltip=tooltip)
    marks = [band, mean]
    if "noise" in rows.column_names:
        marks.append(
            base.mark_line(**_DOTTED).encode(y.of("noise"), tooltip=["space:N", "noise:Q"])
        )
    layers: alt.LayerChart = alt.layer(*marks)  # type: ignore[assignment] # no facets inside
    return layers


def noise(rows: pa.Table, x: alt.X, y: Value, column: str) -> alt.Chart:
    """What rounding alone would make, dotted, from a column that holds it."""
    dotted: alt.Chart = (
        alt.Chart(rows)
        .mark_line(color="#808080", **_DOTTED)
        .encode(x, y.of(column), tooltip=[alt.Tooltip(f"{column}:Q", title="noise floor")])
    )
    return dotted


_DOTTED: dict[str, Any] = {"strokeWidth": 1.2, "strokeDash": [1, 3]}


def similarity_over_depth(rows: pa.Table, edited: str) -> alt.FacetChart:
    """Mean similarity with its range at every block, a panel per sublayer; `edited` says how."""
    header = alt.Header(
        labelExpr=f"{{attn: 'attention {edited}', mlp: 'MLP {edited}'}}[datum.value]"
    )
    chart = mean_with_range(
        rows, BLOCK, Value("Cosine similarity with dense", alt.Scale(zero=False))
    )
    return chart.properties(width=360, height=240).facet(
        alt.Facet("sublayer:N", title=None, header=header), columns=2
    )


def points_by_method(rows: pa.Table, methods: Sequence[str], label: str) -> alt.LayerChart:
    """A point per row in the colour and shape of its method, named on the side `label_side` says.

    Columns method, label_side and the label's. Positions are for the caller to encode.
    """
    base = alt.Chart(rows)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(*method_marks(methods))
    texts = [
        base.transform_filter(alt.datum.label_side == side)
        .mark_text(fontSize=10, **place)
        .encode(text=f"{label}:N")
        for side, place in _BESIDE.items()
    ]
    layers: alt.LayerChart = alt.layer(points, *texts)  # type: ignore[assignment] # no facets inside
    return layers


_BESIDE: dict[str, dict[str, Any]] = {
    "right": {"align": "left", "dx": labels.POINT},
    "left": {"align": "right", "dx": -labels.POINT},
    "above": {"align": "center", "dy": -labels.POINT - labels.HEIGHT / 2},
    "below": {"align": "center", "dy": labels.POINT + labels.HEIGHT / 2},
}


def with_label_sides(
    rows: pa.Table, ranges: Mapping[str, tuple[float, float]], size: tuple[int, int], label: str
) -> pa.Table:
    """The rows with a column `label_side`: where a point's label covers nothing.

    Parameters
    ----------
    ranges : column of x, column of y, and the range each axis shows.
    size : width and height of the panel, in pixels.
    """
    x, y = (
        [(value - low) / (high - low) * extent for value in rows.column(column).to_pylist()]
        for (column, (low, high)), extent in zip(ranges.items(), size, strict=True)
    )
    chosen = labels.sides(list(zip(x, y, strict=True)), rows.column(label).to_pylist(), size)
    return rows.append_column("label_side", pa.array(chosen, pa.string()))


def padded(values: Sequence[float], share: float) -> tuple[float, float]:
    """Range of the values, widened on either side by a share of itself."""
    low, high = min(values), max(values)
    margin = share * ((high - low) or abs(high) or 1)
    return low - margin, high + margin


def method_marks(methods: Sequence[str]) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of the methods shown, in one legend. Column method."""
    shown = sorted(methods, key=list(METHODS).index)
    legend = _legend(labelExpr="replace(datum.label, '_', ' ')")
    colors = alt.Scale(domain=shown, range=[METHODS[method][0] for method in shown])
    shapes = alt.Scale(domain=shown, range=[METHODS[method][1] for method in shown])
    return (
        alt.Color("method:N", scale=colors, legend=legend),
        alt.Shape("method:N", scale=shapes, legend=legend),
    )


def block_by_block(chart: alt.LayerChart) -> alt.FacetChart:
    """Small multiples, one per block, all on the same axes so that depth can be read off them."""
    header = alt.Header(labelExpr="'block ' + datum.value", labelPadding=2)
    facet = alt.Facet("block:O", title=None, header=header)
    return chart.properties(**_SMALL).facet(facet, columns=PER_ROW, spacing=10)


def wide(chart: alt.LayerChart) -> alt.LayerChart:
    """A chart that stands alone."""
    return chart.properties(**_WIDE)


def per_model(rows: pa.Table, draw: Callable[[pa.Table], ChartType]) -> ChartType:
    """What `draw` makes of each model's rows; several models below one another, each named."""
    models = rows.column("model").unique().to_pylist()
    if len(models) == 1:
        return draw(rows)
    drawn = [
        draw(rows.filter(pc.equal(rows.column("model"), model))).properties(title=model)
        for model in models
    ]
    return alt.vconcat(*drawn)


FAMILIES = {
    "non_generative": (BLUE, GREEN, "#7a6bc4", "#4d94a8"),
    "generative": (ORANGE, "#c2569a"),
}
"""Colours of tasks that choose and of tasks that write."""


def task_marks(rows: pa.Table) -> tuple[alt.Color, alt.StrokeDash]:
    """Colour of each task, warm where it writes, and solid or dashed. Columns task, family."""
    families = dict(zip(rows["task"].to_pylist(), rows["family"].to_pylist(), strict=True))
    shown = sorted(families, key=lambda task: (families[task] == "generative", task))
    colors, dashes, used = [], [], dict.fromkeys(FAMILIES, 0)
    for task in shown:
        hues = FAMILIES[families[task]]
        turn, place = divmod(used[families[task]], len(hues))
        colors.append(hues[place])
        dashes.append([1, 0] if turn == 0 else [5, 2 + turn])
        used[families[task]] += 1
    return (
        alt.Color("task:N", scale=alt.Scale(domain=shown, range=colors), legend=_legend()),
        alt.StrokeDash("task:N", scale=alt.Scale(domain=shown, range=dashes), legend=_legend()),
    )


def asked(rows: pa.Table) -> list[str]:
    """How many items of each task and how many solved examples, one line. Columns as named."""
    said = {
        row[
            "task"
        ]: f"{row['task']} ({row['metric']}): {row['n_items']} items, {row['n_shot']}-shot"
        for row in rows.to_pylist()
    }
    return ["; ".join(said[task] for task in sorted(said))]


def stand_ins(rows: pa.Table, papers: Mapping[str, Sequence[str]]) -> list[str]:
    """Which tasks stand where the paper has others, one line, or none. Columns task, family.

    Parameters
    ----------
    papers : family -> the tasks of it that the paper's figure shows.
    """
    families = dict(zip(rows["task"].to_pylist(), rows["family"].to_pylist(), strict=True))
    said = []
    for family, tasks in papers.items():
        absent = [task for task in tasks if task not in families]
        others = sorted(t for t, of in families.items() if of == family and t not in tasks)
        if absent and others:
            said.append(f"{' and '.join(others)} for the paper's {' and '.join(absent)}")
    return [f"Other tasks stand in: {', '.join(said)}."] if said else []


DROPS = {"attn": "attention dropped", "mlp": "MLP dropped", "block": "blocks dropped"}
"""What may be dropped, as `drop_sizes` calls it, in words."""


def over_drops(
    rows: pa.Table, value: Value, column: str, marks: Sequence[Any], tooltip: Sequence[str]
) -> alt.LayerChart:
    """Lines against how many are dropped, from dense's level, which is dashed.

    Columns n_drop, and of a score low and high: its band.

    Parameters
    ----------
    marks : channels that tell the lines apart.
    """
    axis = alt.X("n_drop:Q", axis=alt.Axis(title="Dropped", format="d", tickMinStep=1))
    base = alt.Chart(rows).encode(axis, *marks)
    dense = alt.Chart(rows).transform_filter(alt.datum.n_drop == 0)
    level = dense.mark_rule(strokeDash=[3, 3], color="#808080").encode(value.of(column))
    line = base.mark_line(strokeWidth=2, point=True).encode(value.of(column), tooltip=tooltip)
    layers: list[Any] = [level, line]
    if column == "score":
        filled = [mark for mark in marks if not isinstance(mark, alt.StrokeDash)]
        band = alt.Chart(rows).mark_area(opacity=0.15).encode(axis, *filled)
        layers.insert(0, band.encode(value.of("low"), alt.Y2("high:Q")))
    layered: alt.LayerChart = alt.layer(*layers)  # type: ignore[assignment] # no facets inside
    return layered


def over_patterns(
    rows: pa.Table, value: Value, column: str, color: alt.Color, tooltip: Sequence[str]
) -> alt.LayerChart:
    """A point per pattern of zeroed weights and per colour, side by side; dense's level is dashed.

    Columns pattern, in the order of rows, and of a score low and high: its whiskers.
    """
    patterns = rows.column("pattern").unique().to_pylist()
    axis = alt.X("pattern:N", sort=patterns, axis=alt.Axis(title=None, labelAngle=0))
    side = alt.XOffset(color.shorthand)
    base = alt.Chart(rows).encode(axis, color, xOffset=side, tooltip=list(tooltip))
    dense = alt.Chart(rows).transform_filter(alt.datum.pattern == "dense").encode(color)
    level = dense.mark_rule(strokeDash=[3, 3]).encode(value.of(column))
    points = base.mark_point(filled=True, size=60, opacity=1).encode(value.of(column))
    layers: list[Any] = [level, points]
    if column == "score":
        whiskers = base.mark_rule(strokeWidth=1.5)
        layers.insert(1, whiskers.encode(value.of("low"), alt.Y2("high:Q")))
    layered: alt.LayerChart = alt.layer(*layers)  # type: ignore[assignment] # no facets inside
    return layered


def scores_by_pattern(rows: pa.Table) -> alt.ConcatChart:
    """Scores and shares of dense's against the pattern, a point per task with its interval."""
    color, _ = task_marks(rows)
    tooltip = ["variant:N", "task:N", "score:Q", "share_of_dense:Q", "n_items:Q"]
    columns = {
        "score": Value("Score"),
        "share_of_dense": Value("Score / dense", alt.Scale(zero=True)),
    }
    panels = [over_patterns(rows, value, name, color, tooltip) for name, value in columns.items()]
    sized = [panel.properties(width=340, height=210) for panel in panels]
    chart: alt.ConcatChart = alt.concat(*sized, columns=2)
    return chart


def scopes(rows: pa.Table) -> list[str]:
    """What rows are taken over: one prompt by its id first, the mean over prompts last."""
    found: list[str] = rows.column("scope").unique().to_pylist()
    return sorted(found, key=lambda scope: (scope == MEAN_SCOPE, scope))


def titled(chart: ChartType, doc: str | None, subtitle: Sequence[str] = ()) -> ChartType:
    """The chart under its title, the first line of the module's docstring."""
    title, _ = title_and_caption(doc)
    titled_chart: ChartType = chart.properties(
        title=alt.Title(title, subtitle=list(subtitle), anchor="start"), description=title
    )
    return titled_chart


def title_and_caption(doc: str | None) -> tuple[str, str]:
    """First line and the rest of a chart module's docstring; paragraphs stay apart.

    Raises ValueError where one of the two is missing: no figure goes without a caption.
    """
    title, _, caption = inspect.cleandoc(doc or "").partition("\n")
    paragraphs = [" ".join(part.split()) for part in caption.strip().split("\n\n")]
    if not title or not any(paragraphs):
        raise ValueError("a chart module needs a docstring: a title line, then its caption.")
    return title.rstrip("."), "\n\n".join(paragraphs)


def reach(rows: pa.Table) -> list[str]:
    """What the mean at a step is taken over, a line per model; prompts drop out where they end."""
    counts = rows.group_by(["model", "step"]).aggregate([("prompts", "max")]).sort_by("step")
    said: dict[str, list[tuple[int, int]]] = {}
    for row in counts.to_pylist():
        said.setdefault(row["model"], []).append((row["step"], row["prompts_max"]))
    several = len(said) > 1
    return [
        f"{model + ': mean' if several else 'Mean'} over the prompts whose answer reaches "
        f"the step: {at[0][1]} at step {at[0][0]}, {at[-1][1]} at step {at[-1][0]}"
        for model, at in sorted(said.items())
    ]


def _legend(**more: Any) -> alt.Legend:
    return alt.Legend(title=None, orient="top", symbolStrokeWidth=2.5, symbolOpacity=1, **more)
