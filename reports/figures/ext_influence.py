"""Influence of each sublayer and block, and the parts that each drop variant removes.

The upper panels show how much a sublayer or a whole block changes the direction of the hidden
state: 1 − cos of its input and output, as a mean over all calibration tokens, on a logarithmic
axis. The lower panels have a row per variant, with a mark at each block that it drops. These are
always the least influential ones of the dense model. Look for the depth at which the lowest points
lie, and for how the set of dropped blocks grows from there.
"""

from collections.abc import Iterator

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

KINDS = {"attn": "Attention sublayers", "mlp": "MLP sublayers", "block": "Whole blocks"}

INFLUENCE = charts.Value("Influence  1 − cos(input, output)", charts.LOG_SCALE)


def draw(rows: pa.Table) -> ChartType:
    """A column per kind of part: influence over depth, and below it the drops of each variant."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    return alt.concat(*_kinds(rows), columns=3, spacing=24)


def _kinds(rows: pa.Table) -> Iterator[alt.VConcatChart]:
    for kind, title in KINDS.items():
        of_kind = charts.where(rows, "sublayer", kind)
        if of_kind.num_rows:
            yield alt.vconcat(*_influence_and_drops(of_kind), spacing=6, title=title)


def _influence_and_drops(rows: pa.Table) -> Iterator[ChartType]:
    tooltip = ["block:Q", "influence:Q"]
    depth = charts.BLOCK.scale(domain=[-0.5, max(rows.column("block").to_pylist()) + 0.5])
    base = alt.Chart(rows).encode(depth, INFLUENCE.of("influence"), tooltip=tooltip)
    line = base.mark_line(color=charts.BLUE, strokeWidth=1, opacity=0.5)
    dots = base.mark_point(color=charts.BLUE, filled=True, size=28, opacity=1)
    size = {"width": 250, "height": 180}
    yield alt.layer(line, dots).properties(**size)

    variants = [name for name in rows.column("variant").unique().to_pylist() if name]
    if variants:
        drops = alt.Chart(rows).transform_filter("datum.removed").mark_square(size=36, opacity=1)
        yield drops.encode(
            depth,
            alt.Y("variant:N", sort=variants, title=None, scale=alt.Scale(domain=variants)),
            color=alt.value(charts.ORANGE),
            tooltip=["variant:N", "block:Q", "influence:Q"],
        ).properties(width=size["width"], height=16 * len(variants))
