"""Figure 3. Half the weights pruned by Wanda: what choosing and writing keep.

Score of every task under Wanda at half the weights, unstructured, four of every eight and two of
every four, beside dense, which is dashed; whiskers are 95 % intervals over items. Where a model is
near the floor on the paper's GSM8K, another task that writes stands in its place; the lines above
the chart say which. Look at how much further the orange points fall than the others as the pattern
gets stricter from left to right.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts


def draw(rows: pa.Table) -> ChartType:
    """Scores by pattern, and their share of dense's."""
    papers = {"non_generative": ["hellaswag"], "generative": ["gsm8k"]}
    said = [*charts.stand_ins(rows, papers), *charts.asked(rows)]
    return charts.titled(charts.per_model(rows, charts.scores_by_pattern), __doc__, said)
