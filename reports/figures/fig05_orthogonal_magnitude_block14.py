"""Figure 5. How far one dropped attention sublayer turns h and z away from the dense direction.

The part of the perturbation orthogonal to the dense vector, relative to that vector's length, for
hidden states h and for the logits z they become. Lines are means over prompts, bands their range.
Look for the distance between the two lines: it is what lm_head does to the perturbation, smaller
below, larger above.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

MAGNITUDE = charts.Value("Relative orthogonal magnitude  |Δ⊥| / |dense|")


def draw(rows: pa.Table) -> ChartType:
    """Mean magnitude over steps, with its range, in both spaces."""
    subtitle = [f"Attention of block {rows.column('block')[0]}", *charts.reach(rows)]
    return charts.titled(charts.per_model(rows, _one_model), __doc__, subtitle)


def _one_model(rows: pa.Table) -> alt.LayerChart:
    return charts.wide(charts.mean_with_range(rows, charts.STEP, MAGNITUDE))
