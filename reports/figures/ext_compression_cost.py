"""What compression buys and costs: speed and memory against similarity with dense.

Each point is one variant of the whole model, compared with dense in one process that runs the two
in turn. Upwards, how similar its next-token probabilities stay (T = 1): the mean cosine over all
steps of the dense model's own answers. Sideways, what that buys: speed of writing tokens one by
one on the key-value cache and of reading a prompt, batch 1; bytes of the weights standing alone,
packed where a method packs them; bytes of the key-value cache for one position. Zeroed and
quantized weights are stored packed but run as dense ones, so they save bytes and no time here.

Look for the points that reach far to the better side (arrows) while staying high.
"""

from collections.abc import Iterator

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

GAINS = {
    "decode_speed": ("Decode speed, times dense (faster →)", "~g"),
    "prefill_speed": ("Prefill speed, times dense (faster →)", "~g"),
    "weights": ("(← smaller) Bytes of weights, share of dense", "%"),
    "kv_cache": ("(← smaller) Bytes of key-value cache, share of dense", "%"),
}
"""Title of each panel's axis, and the format of its numbers."""

SIZE = (400, 250)

TOOLTIP = [
    alt.Tooltip("variant:N"),
    alt.Tooltip("relative:Q", title="times dense"),
    alt.Tooltip("similarity_probability:Q", title="similarity of probabilities"),
    alt.Tooltip("mean_kl_divergence:Q", title="mean KL (nats)"),
    alt.Tooltip("top_token_agreement:Q", title="same likeliest token"),
]


def draw(rows: pa.Table) -> ChartType:
    """One panel per gain, one point per variant in the colour and shape of its method."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    return alt.concat(*_panels(rows), columns=2, spacing=24)


def _panels(rows: pa.Table) -> Iterator[alt.LayerChart]:
    methods = rows.column("method").unique().to_pylist()
    y_range = charts.padded(rows.column("similarity_probability").to_pylist(), 0.08)
    y = charts.Value(
        "Similarity of probabilities with dense", alt.Scale(domain=y_range, nice=False)
    )
    for gain, (title, number) in GAINS.items():
        of_gain = rows.filter(pc.equal(rows.column("gain"), gain))
        x_range = charts.padded(of_gain.column("relative").to_pylist(), 0.15)
        x = alt.X(
            "relative:Q",
            axis=alt.Axis(title=title, format=number, tickCount=5),
            scale=alt.Scale(domain=x_range, nice=False),
        )
        ranges = {"relative": x_range, "similarity_probability": y_range}
        labelled = charts.with_label_sides(of_gain, ranges, SIZE, label="variant")
        chart = charts.points_by_method(labelled, methods, label="variant")
        yield chart.encode(x, y.of("similarity_probability"), tooltip=TOOLTIP).properties(
            width=SIZE[0], height=SIZE[1]
        )
