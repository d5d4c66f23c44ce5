"""Figure 3. Scores with half of the weights pruned by Wanda.

The chart shows each task's score and its share of the dense model's score for three patterns:
unstructured, four of every eight weights, and two of every four. Dashed lines are the dense model,
whiskers are 95 % intervals over items. If the model is near the floor on the paper's GSM8K, another
generation task takes its place, as the lines above the chart say. Look for whether the orange
points fall further than the others as the pattern becomes stricter from left to right.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts


def draw(rows: pa.Table) -> ChartType:
    """Scores by pattern, and their shares of the dense score."""
    return charts.scores_by_pattern(rows, __doc__)
