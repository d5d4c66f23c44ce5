"""Figure 4. Similarity with the dense model when one sublayer is dropped, in three spaces.

At each block the attention or the MLP sublayer is left out, everything before it stays dense, and
what comes out is compared with the dense model: as hidden state, as logits, as probabilities.
Lines are means over prompts and steps, bands reach from the smallest to the largest similarity.
Look for how far the probability line and its band fall below the other two, and at the ends of
the model, where even embeddings give way.
Dotted: the similarity that rounding alone would leave (the noise floor).
"""

import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts


def draw(rows: pa.Table) -> ChartType:
    """One panel per kind of sublayer: mean similarity over depth, with its range."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> ChartType:
    return charts.similarity_over_depth(rows, "dropped")
