"""Figure 13. Similarity with the dense model in three spaces if Wanda prunes one sublayer.

At each block Wanda sets half of the weights of the attention or the MLP sublayer to zero, and
everything before it stays dense. The state after it is compared with the dense model's as hidden
state, as logits and as probabilities. Lines are means over prompts and steps; bands reach from the
smallest to the largest similarity. Dotted lines are the noise floor, the similarity that rounding
alone would leave. Compare with Figure 4, in which the same sublayers are dropped: is the order of
the three spaces the same, and is less similarity lost?
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts


def draw(rows: pa.Table) -> ChartType:
    """Mean similarity over depth with its range, a panel per kind of sublayer."""
    return charts.similarity_over_depth(rows, "pruned by Wanda", __doc__)
