"""Figure 5. Orthogonal part of the shift of h and z if one attention sublayer is dropped.

The chart shows the length of the part of the perturbation that is orthogonal to the dense vector,
divided by the length of that vector, for the hidden states h and for the logits z that they become.
Lines are means over prompts, bands their range. Look for the distance between the two lines, which
is the effect of lm_head: if the line of the logits is lower, lm_head damps the perturbation.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

MAGNITUDE = charts.Value("Relative orthogonal magnitude  |Δ⊥| / |dense|")


def draw(rows: pa.Table) -> ChartType:
    """Mean magnitude over decoding steps with its range, in both spaces."""
    subtitle = [f"Attention of block {rows.column('block')[0]}", *charts.prompts_per_step(rows)]
    return charts.figure(rows, _one_model, __doc__, subtitle)


def _one_model(rows: pa.Table) -> alt.LayerChart:
    return charts.wide(charts.mean_with_range(rows, charts.STEP, MAGNITUDE))
