"""Figure 3. Half the weights pruned by Wanda: what choosing and writing keep.

Score of every task under Wanda at half the weights, unstructured, four of every eight and two of
every four, beside dense; whiskers are 95 % intervals over items. SQuAD's open answers (F1) stand
where the paper has GSM8K. Look at how much further the orange points fall than the others as the
pattern gets stricter from left to right.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope import charts


def draw(rows: pa.Table) -> ChartType:
    """Scores by pattern, and their share of dense's."""
    chart = charts.per_model(rows, charts.scores_by_pattern)
    return charts.titled(chart, __doc__, charts.asked(rows))
