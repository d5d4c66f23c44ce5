"""Figure 9. The same by SparseGPT, which makes up for what it removes.

Score of every task under SparseGPT at half the weights, unstructured, four of every eight and two
of every four, beside dense; whiskers are 95 % intervals over items. SQuAD's open answers (F1) stand
where the paper has GSM8K. Compare with Figure 3: here the weights that stay are adjusted. Look for
whether that holds the orange points up as the pattern gets stricter from left to right.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope import charts


def draw(rows: pa.Table) -> ChartType:
    """Scores by pattern, and their share of dense's."""
    chart = charts.per_model(rows, charts.scores_by_pattern)
    return charts.titled(chart, __doc__, charts.asked(rows))
