"""Figure 4. Similarity with the dense model in three spaces if one sublayer is dropped.

At each block the attention or the MLP sublayer is left out, and everything before it stays dense.
The state after it is compared with the dense model's as hidden state, as logits and as
probabilities. Lines are means over prompts and steps; bands reach from the smallest to the largest
similarity. Dotted lines are the noise floor, the similarity that rounding alone would leave. Look
for how far the line and the band of the probabilities lie below the other two, and for the first
and the last blocks, where the paper finds less similar hidden states.

Thin lines are the means that the paper publishes for Qwen2.5-7B-Instruct, which has 28 blocks.
Where ours differ, size is one reason: a block of a small model does a larger part of its work. The
scale of its intermediate logits is another: lm_head alone reads no state before the final norm at
the scale for which it was trained, and small logits make probabilities that hardly move.
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts


def draw(rows: pa.Table) -> ChartType:
    """Mean similarity over depth with its range, a panel per kind of sublayer."""
    return charts.similarity_over_depth(rows, "dropped", __doc__)
