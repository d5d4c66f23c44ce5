"""Figure 13. Similarity with the dense model when one sublayer is pruned by Wanda, in three spaces.

At each block the weights of the attention or of the MLP sublayer are replaced by Wanda's at 50 %
sparsity, everything before it stays dense, and what comes out is compared with the dense model:
as hidden state, as logits, as probabilities. Lines are means over prompts and steps, bands reach
from the smallest to the largest similarity. Read it against Figure 4, where the same sublayers
are dropped: look for whether the order of the three spaces is the same, and how much less is lost.
Dotted: the similarity that rounding alone would leave (the noise floor).
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts


def draw(rows: pa.Table) -> ChartType:
    """One panel per kind of sublayer: mean similarity over depth, with its range."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> ChartType:
    return charts.similarity_over_depth(rows, "pruned by Wanda")
