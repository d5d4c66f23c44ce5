"""Figure 4. Similarity with the dense model in three spaces if one sublayer is dropped.

At each block the attention or the MLP sublayer is left out, and everything before it stays dense.
The state after it is compared with the dense model's as hidden state, as logits and as
probabilities. Lines are means over prompts and steps; bands reach from the smallest to the largest
similarity. Dotted lines are the noise floor, the similarity that rounding alone would leave. Look
for how far the line and the band of the probabilities lie below the other two, and for the first
and the last blocks, where the paper finds less similar hidden states.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts


def draw(rows: pa.Table) -> ChartType:
    """Mean similarity over depth with its range, a panel per kind of sublayer."""
    return charts.similarity_over_depth(rows, "dropped", __doc__)
