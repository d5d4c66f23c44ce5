"""The parts that figures share: palette, axes, recurring charts, and one chart per model.

The three main colours are Okabe-Ito hues. They can be told apart under every common form of colour
blindness, and their contrast is at least 3:1 on white and on near-black. Text and axes have no
colour here, because the page gives them the colour of its theme.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import contents, labels, pickers

alt.data_transformers.disable_max_rows()

BLUE, GREEN, ORANGE = "#1f83c4", "#159a74", "#d55e00"

SPACES = {"embedding": BLUE, "logit": GREEN, "probability": ORANGE}
"""Colour of each space, the same in every figure."""

SPACE_NAMES = {
    "embedding": "hidden states",
    "logit": "logits",
    "probability": "probabilities",
}
"""Name of each space in legends."""

PENTAGON = "M0,-1L0.95,-0.31L0.59,0.81L-0.59,0.81L-0.95,-0.31Z"
"""A point shape for which Vega has no name."""

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
"""Colour and shape of each method, the same in every figure. Shapes separate similar hues.

They are chosen by hand, because a new method must not change the marks of the others; a test checks
that each method has an entry, that no two are equal, and that all have sufficient contrast.
"""

MEAN_SCOPE = "mean over prompts"
"""The scope, in queries, of rows that are means over all prompts."""

PER_ROW = 6
"""Small multiples per row on a wide screen; the page lowers the number on a narrow one."""

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
    """The y axis: its title and its scale."""

    title: str
    scale: alt.Scale = alt.Scale()

    def of(self, column: str) -> alt.Y:
        """The axis as the encoding of one column."""
        axis = alt.Axis(title=self.title, tickCount=4, labelExpr=_SHORT, labelOverlap=True)
        return alt.Y(f"{column}:Q", axis=axis, scale=self.scale)


LOG_SCALE = alt.Scale(type="log", nice=False)


class Line(NamedTuple):
    """One line of a chart: its column, its colour and its dash pattern."""

    column: str
    color: str
    dash: tuple[int, int] = (1, 0)


def measured_and_estimated(theorem: str) -> dict[str, Line]:
    """A solid line for the measurement and a dashed one for a theorem's estimate of it."""
    return {
        "measured": Line("measured", BLUE),
        f"estimated ({theorem})": Line("estimated", ORANGE, (4, 3)),
    }


def lines(rows: pa.Table, y: Value, named: Mapping[str, Line]) -> alt.LayerChart:
    """Lines over decoding steps; `named` holds each line under its name in the legend.

    Parameters
    ----------
    rows : columns step and those of the lines, and optionally block and prompts.
    y : the y axis.
    """
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
    """One line per space with a band behind it.

    Columns: space, mean, low, high, and optionally noise, which is drawn dotted, and paper, the
    published mean, which is drawn thin.

    Parameters
    ----------
    rows : one row per space and x.
    x, y : the axes.
    """
    spaces = [space for space in SPACES if space in rows.column("space").unique().to_pylist()]
    scale = alt.Scale(domain=spaces, range=[SPACES[space] for space in spaces])
    legend = _legend(labelExpr=f"{SPACE_NAMES}[datum.label]")
    color = alt.Color("space:N", scale=scale, legend=legend)
    tooltip = ["space:N", x.shorthand, "mean:Q", "low:Q", "high:Q"]
    base = alt.Chart(rows).encode(x, color)
    band = base.mark_area(opacity=0.18).encode(y.of("low"), alt.Y2("high:Q"))
    mean = base.mark_line(strokeWidth=2).encode(y.of("mean"), tooltip=tooltip)
    marks = [band, mean]
    if "noise" in rows.column_names:
        marks.append(
            base.mark_line(**_DOTTED).encode(y.of("noise"), tooltip=["space:N", "noise:Q"])
        )
    if "paper" in rows.column_names:
        marks.append(base.mark_line(**THIN).encode(y.of("paper"), tooltip=["space:N", "paper:Q"]))
    layers: alt.LayerChart = alt.layer(*marks)  # type: ignore[assignment] # no facets inside
    return layers


def where(rows: pa.Table, column: str, value: str) -> pa.Table:
    """The rows with this `value` in this `column`, of all `rows`."""
    return rows.filter(pc.equal(rows.column(column), value))


def noise(rows: pa.Table, x: alt.X, y: Value, column: str) -> alt.Chart:
    """The noise floor, the deviation that rounding alone makes, as a dotted line.

    Parameters
    ----------
    rows : rows with the columns of both axes.
    x, y : the axes.
    column : the column of the noise floor.
    """
    dotted: alt.Chart = (
        alt.Chart(rows)
        .mark_line(color="#808080", **_DOTTED)
        .encode(x, y.of(column), tooltip=[alt.Tooltip(f"{column}:Q", title="noise floor")])
    )
    return dotted


_DOTTED: dict[str, Any] = {"strokeWidth": 1.2, "strokeDash": [1, 3]}

THIN: dict[str, Any] = {"strokeWidth": 0.8, "opacity": 0.8}
"""The line of a curve that the paper publishes."""


def similarity_over_depth(rows: pa.Table, edit: str, doc: str | None) -> ChartType:
    """The figure of mean similarity with its range at each block, a panel per kind of sublayer.

    Parameters
    ----------
    rows : columns model, sublayer, block, space, mean, low and high.
    edit : what was done to the sublayer, such as "dropped".
    doc : the docstring of the figure's module.
    """
    return figure(rows, lambda of_model: similarity_panels(of_model, edit), doc)


def similarity_panels(rows: pa.Table, edit: str) -> ChartType:
    """`similarity_over_depth` of one model, without a title."""
    header = alt.Header(labelExpr=f"{{attn: 'attention {edit}', mlp: 'MLP {edit}'}}[datum.value]")
    similarity = Value("Cosine similarity with dense", alt.Scale(zero=False))
    chart = mean_with_range(rows, BLOCK, similarity).properties(width=360, height=240)
    return chart.facet(alt.Facet("sublayer:N", title=None, header=header), columns=2)


def points_by_method(rows: pa.Table, methods: Sequence[str], label: str) -> alt.LayerChart:
    """A point per row in the colour and shape of its method, with its label beside it.

    Columns: method, label_side (from `with_label_sides`) and the label's own. The caller encodes
    the positions.

    Parameters
    ----------
    rows : one row per point.
    methods : the methods in the legend.
    label : the column of the labels.
    """
    base = alt.Chart(rows)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(*method_marks(methods))
    texts = [
        base.transform_filter(alt.datum.label_side == side)
        .mark_text(fontSize=10, **offset)
        .encode(text=f"{label}:N")
        for side, offset in _LABEL_OFFSETS.items()
    ]
    layers: alt.LayerChart = alt.layer(points, *texts)  # type: ignore[assignment] # no facets inside
    return layers


_LABEL_OFFSETS: dict[str, dict[str, Any]] = {
    "right": {"align": "left", "dx": labels.POINT},
    "left": {"align": "right", "dx": -labels.POINT},
    "above": {"align": "center", "dy": -labels.POINT - labels.HEIGHT / 2},
    "below": {"align": "center", "dy": labels.POINT + labels.HEIGHT / 2},
}


def with_label_sides(
    rows: pa.Table, ranges: Mapping[str, tuple[float, float]], size: tuple[int, int], label: str
) -> pa.Table:
    """The rows with a new column `label_side`: the side on which a point's label covers nothing.

    Parameters
    ----------
    rows : a row per point, with the columns of both axes and of the labels.
    ranges : the range that each axis shows, by column: first that of x, then that of y.
    size : width and height of the panel, in pixels.
    label : the column of the labels.
    """
    x, y = (
        [(value - low) / (high - low) * extent for value in rows.column(column).to_pylist()]
        for (column, (low, high)), extent in zip(ranges.items(), size, strict=True)
    )
    sides = labels.sides(list(zip(x, y, strict=True)), rows.column(label).to_pylist(), size)
    return rows.append_column("label_side", pa.array(sides, pa.string()))


def padded(values: Sequence[float], share: float) -> tuple[float, float]:
    """The range of the values, widened at both ends by a share of its length."""
    low, high = min(values), max(values)
    margin = share * ((high - low) or abs(high) or 1)
    return low - margin, high + margin


def method_marks(methods: Sequence[str]) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of the methods in a chart, in one legend. Column: method."""
    names = sorted(methods, key=list(METHODS).index)
    legend = _legend(labelExpr="replace(datum.label, '_', ' ')")
    colors = alt.Scale(domain=names, range=[METHODS[method][0] for method in names])
    shapes = alt.Scale(domain=names, range=[METHODS[method][1] for method in names])
    return (
        alt.Color("method:N", scale=colors, legend=legend),
        alt.Shape("method:N", scale=shapes, legend=legend),
    )


def lines_by_block(
    rows: pa.Table, y: Value, named: Mapping[str, Line], doc: str | None
) -> ChartType:
    """The figure of lines over decoding steps, a small panel per block, all on the same axes.

    The reader picks a block, and a temperature if the rows have several.

    Parameters
    ----------
    rows : columns model, block, step, prompts and those of the lines, and optionally temperature.
    y : the y axis.
    named : the lines, under their names in the legend.
    doc : the docstring of the figure's module.
    """
    header = alt.Header(labelExpr="'block ' + datum.value", labelPadding=2)
    facet = alt.Facet("block:O", title=None, header=header)

    def draw_model(of_model: pa.Table) -> ChartType:
        panel = lines(of_model, y, named).properties(**_SMALL)
        return panel.facet(facet, columns=PER_ROW, spacing=10)

    chart = figure(rows, draw_model, doc, prompts_per_step(rows))
    blocks = pickers.picker(rows, "block", "Block", every="all, side by side")
    return pickers.with_pickers(chart, blocks, temperature_picker(rows))


def temperature_picker(rows: pa.Table) -> pickers.Picker | None:
    """A picker of the temperature of the probabilities, at first 1, if the rows have any."""
    if "temperature" not in rows.column_names:
        return None
    return pickers.picker(rows, "temperature", "Temperature", "{:g}".format, first=1.0)


def wide(chart: alt.LayerChart) -> alt.LayerChart:
    """A chart in the size of a figure with one panel."""
    return chart.properties(**_WIDE)


def figure(
    rows: pa.Table,
    draw_model: Callable[[pa.Table], ChartType],
    doc: str | None,
    subtitle: Sequence[str] = (),
) -> ChartType:
    """The charts of all models below one another, under the title in the module's docstring.

    Parameters
    ----------
    rows : the rows of the figure's query.
    draw_model : draws the rows of one model; its chart is named if there are several models.
    doc : the docstring of the figure's module.
    subtitle : lines between the title and the chart.
    """
    models = rows.column("model").unique().to_pylist()
    if len(models) == 1:
        return titled(draw_model(rows), doc, subtitle)
    charts = [draw_model(where(rows, "model", model)).properties(title=model) for model in models]
    return titled(alt.vconcat(*charts), doc, subtitle)


FAMILIES = {
    "non_generative": (BLUE, GREEN, "#7a6bc4", "#4d94a8"),
    "generative": (ORANGE, "#c2569a"),
}
"""Colours of multiple-choice tasks (cold) and of generation tasks (warm)."""


def task_marks(rows: pa.Table) -> tuple[alt.Color, alt.StrokeDash]:
    """Colour and dash pattern of each task; generation tasks are warm. Columns: task, family."""
    families = dict(zip(rows["task"].to_pylist(), rows["family"].to_pylist(), strict=True))
    tasks = sorted(families, key=lambda task: (families[task] == "generative", task))
    colors, dashes, counts = [], [], dict.fromkeys(FAMILIES, 0)
    for task in tasks:
        hues = FAMILIES[families[task]]
        turn, hue_index = divmod(counts[families[task]], len(hues))
        colors.append(hues[hue_index])
        dashes.append([1, 0] if turn == 0 else [5, 2 + turn])
        counts[families[task]] += 1
    return (
        alt.Color("task:N", scale=alt.Scale(domain=tasks, range=colors), legend=_legend()),
        alt.StrokeDash("task:N", scale=alt.Scale(domain=tasks, range=dashes), legend=_legend()),
    )


def items_and_shots(rows: pa.Table) -> list[str]:
    """One line: metric, number of items and number of solved examples of each task."""
    descriptions = {
        row["task"]: (
            f"{row['task']} ({row['metric']}): {row['n_items']} items, {row['n_shot']}-shot"
        )
        for row in rows.to_pylist()
    }
    return ["; ".join(descriptions[task] for task in sorted(descriptions))]


def substitutes(rows: pa.Table, papers_tasks: Mapping[str, Sequence[str]]) -> list[str]:
    """One line that names the tasks shown in place of the paper's, or none if there are none.

    Parameters
    ----------
    rows : columns task and family.
    papers_tasks : family -> its tasks in the paper's figure.
    """
    families = dict(zip(rows["task"].to_pylist(), rows["family"].to_pylist(), strict=True))
    replacements = []
    for family, tasks in papers_tasks.items():
        absent = [task for task in tasks if task not in families]
        others = sorted(t for t, of in families.items() if of == family and t not in tasks)
        if absent and others:
            replacements.append(f"{' and '.join(others)} in place of {' and '.join(absent)}")
    return [f"Tasks other than the paper's: {', '.join(replacements)}."] if replacements else []


PARTS = {"attn": BLUE, "mlp": GREEN, "block": ORANGE}
"""Colour of each kind of part that variants drop, in the order of panels."""


def dropped_parts(rows: pa.Table) -> dict[str, str]:
    """The kinds of dropped parts in the rows, each with its title, such as "blocks dropped".

    Columns: dropped, and parts, which holds the kind in words.
    """
    titles = dict(zip(rows["dropped"].to_pylist(), rows["parts"].to_pylist(), strict=True))
    return {kind: f"{titles[kind]} dropped" for kind in PARTS if kind in titles}


def over_drops(
    rows: pa.Table, value: Value, column: str, marks: Sequence[Any], tooltip: Sequence[str]
) -> alt.LayerChart:
    """Lines against the number of dropped parts; the dense level is a dashed line.

    Columns: n_drop and `column`; for the column `score` also low and high, drawn as a band.

    Parameters
    ----------
    rows : one row per point.
    value : the y axis.
    column : the column of the y axis.
    tooltip : columns to show for a point.
    marks : the channels that tell the lines apart.
    """
    axis = alt.X("n_drop:Q", axis=alt.Axis(title="Number dropped", format="d", tickMinStep=1))
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
    """Points per pattern of zeroed weights, side by side by colour; the dense level is dashed.

    Columns: pattern, in the order of the rows, and `column`; for the column `score` also low and
    high, drawn as whiskers.

    Parameters
    ----------
    rows : one row per point.
    value : the y axis.
    column : the column of the y axis.
    color : the channel by which points are placed side by side.
    tooltip : columns to show for a point.
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


def scores_by_pattern(rows: pa.Table, doc: str | None) -> ChartType:
    """The figure of scores against patterns of zeroed weights, a point per task.

    Parameters
    ----------
    doc : the docstring of the figure's module.
    """
    tooltip = ["variant:N", "task:N", "score:Q", "share_of_dense:Q", "n_items:Q"]
    columns = {
        "score": Value("Score"),
        "share_of_dense": Value("Score / dense score", alt.Scale(zero=True)),
    }

    def draw_model(of_model: pa.Table) -> ChartType:
        color, _ = task_marks(of_model)
        panels = [
            over_patterns(of_model, value, column, color, tooltip).properties(width=340, height=210)
            for column, value in columns.items()
        ]
        return alt.concat(*panels, columns=2)

    papers_tasks = {"non_generative": ["hellaswag"], "generative": ["gsm8k"]}
    subtitle = [*substitutes(rows, papers_tasks), *items_and_shots(rows)]
    return figure(rows, draw_model, doc, subtitle)


def scopes(rows: pa.Table) -> list[str]:
    """The scopes of the rows: first a prompt by its id, last the mean over prompts."""
    names: list[str] = rows.column("scope").unique().to_pylist()
    return sorted(names, key=lambda scope: (scope == MEAN_SCOPE, scope))


def titled(chart: ChartType, doc: str | None, subtitle: Sequence[str] = ()) -> ChartType:
    """The chart under its title, the first line of the docstring of the figure's module.

    Parameters
    ----------
    chart : the chart.
    doc : the docstring of the figure's module.
    subtitle : lines between the title and the chart.
    """
    title, _ = contents.title_and_caption(doc)
    titled_chart: ChartType = chart.properties(
        title=alt.Title(title, subtitle=list(subtitle), anchor="start"), description=title
    )
    return titled_chart


def prompts_per_step(rows: pa.Table) -> list[str]:
    """One line per model: the number of prompts in the means of the first and the last step."""
    counts = rows.group_by(["model", "step"]).aggregate([("prompts", "max")]).sort_by("step")
    by_model: dict[str, list[tuple[int, int]]] = {}
    for row in counts.to_pylist():
        by_model.setdefault(row["model"], []).append((row["step"], row["prompts_max"]))
    return [
        f"{model + ': means' if len(by_model) > 1 else 'Means'} over the prompts whose answer "
        f"reaches the step: {steps[0][1]} at step {steps[0][0]}, "
        f"{steps[-1][1]} at step {steps[-1][0]}"
        for model, steps in sorted(by_model.items())
    ]


def _legend(**more: Any) -> alt.Legend:
    return alt.Legend(title=None, orient="top", symbolStrokeWidth=2.5, symbolOpacity=1, **more)
