"""Gains of compression in speed and memory, against similarity with the dense model.

Each point is one variant of the whole model, which runs in turn with the dense model in the same
process. The y axis is the similarity of its next-token probabilities with the dense ones at T = 1:
the mean cosine over all steps of the dense model's own answers. The x axes are the gains: the speed
of decoding token by token on the key-value cache and of reading a prompt (prefill), both at batch
size 1; the bytes of the weights, packed if the method packs them; and the bytes of the key-value
cache per position. Speeds are medians of ratios over runs in turn with dense; bars are their 95 %
intervals. Variants with zeroed or quantized weights are stored packed but run dense's operations,
so that they save bytes, no time, and have no speed here.

Look for points far on the better side (arrows) that are still high.
"""

from collections.abc import Iterator

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

GAINS = {
    "decode_speed": ("Decode speed / dense speed (faster →)", "~g"),
    "prefill_speed": ("Prefill speed / dense speed (faster →)", "~g"),
    "weights": ("(← smaller) Bytes of weights, share of dense", "%"),
    "kv_cache": ("(← smaller) Bytes of key-value cache, share of dense", "%"),
}
"""The title of each panel's axis and the format of its numbers."""

SIZE = (400, 250)

TOOLTIP = [
    alt.Tooltip("variant:N"),
    alt.Tooltip("relative:Q", title="gain / dense"),
    alt.Tooltip("low:Q", title="95 % interval from"),
    alt.Tooltip("high:Q", title="to"),
    alt.Tooltip("similarity_probability:Q", title="similarity of probabilities"),
    alt.Tooltip("mean_kl_divergence:Q", title="mean KL (nats)"),
    alt.Tooltip("top_token_agreement:Q", title="same likeliest token"),
]


def draw(rows: pa.Table) -> ChartType:
    """One panel per gain; a point per variant in the colour and shape of its method."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    return alt.concat(*_panels(rows), columns=2, spacing=24)


def _panels(rows: pa.Table) -> Iterator[alt.LayerChart]:
    methods = rows.column("method").unique().to_pylist()
    y_range = charts.padded(rows.column("similarity_probability").to_pylist(), 0.08)
    y = charts.Value(
        "Similarity of probabilities with dense", alt.Scale(domain=y_range, nice=False)
    )
    for gain, (title, number) in GAINS.items():
        of_gain = charts.where(rows, "gain", gain)
        if not of_gain.num_rows:
            continue
        shown = [
            v for name in ("relative", "low", "high") for v in of_gain.column(name).to_pylist()
        ]
        x_range = charts.padded([value for value in shown if value is not None], 0.15)
        axis = alt.Axis(title=title, format=number, tickCount=5)
        scale = alt.Scale(domain=x_range, nice=False)
        similarity = y.of("similarity_probability")
        ranges = {"relative": x_range, "similarity_probability": y_range}
        labelled = charts.with_label_sides(of_gain, ranges, SIZE, label="variant")
        points = charts.points_by_method(labelled, methods, label="variant").encode(
            alt.X("relative:Q", axis=axis, scale=scale), similarity, tooltip=TOOLTIP
        )
        intervals = alt.Chart(labelled).mark_rule(color="#808080", strokeWidth=1.2)
        drawn = intervals.encode(alt.X("low:Q", axis=axis, scale=scale), alt.X2("high"), similarity)
        layers: alt.LayerChart = alt.layer(drawn, points)  # type: ignore[assignment] # no facets
        yield layers.properties(width=SIZE[0], height=SIZE[1])
