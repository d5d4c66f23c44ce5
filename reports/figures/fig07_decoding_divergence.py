"""Figure 7. Deviation of a compressed model from the dense one over decoding steps.

Both models write their own greedy answers (free running), at T = 1. Row (a) shows the cosine
similarity of their outputs in the three spaces. Row (b) shows the KL divergence of their next-token
distributions and its estimate by Theorem 3, half the variance of the logit shift. The left column
is one arithmetic prompt, as in the paper; the right column is the mean over all prompts that reach
the step, with their range. Dotted lines are the noise floor, which is what rounding alone would
make; in (b) it is drawn only if it comes within a factor of a hundred of the data. Look for the
first step, which has read only the prompt, and for the similarity once the texts differ.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

SIZE = {"width": 360, "height": 200}


def draw(rows: pa.Table) -> ChartType:
    """Similarity above and divergence below; a column per scope."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    scopes = charts.scopes(rows)
    similarity = charts.Value("Cosine similarity with dense")
    divergence = charts.Value("KL(p‖q) in nats", charts.LOG_SCALE)
    above, below = [], []
    for scope in scopes:
        of_scope = charts.where(rows, "scope", scope)
        spaces = charts.mean_with_range(of_scope, charts.STEP, similarity)
        above.append(spaces.properties(**SIZE, title=f"(a) {scope}"))
        kl = charts.where(of_scope, "space", "probability")
        measured = charts.lines(kl, divergence, charts.measured_and_estimated("Theorem 3"))
        if _reaches_noise(kl):
            measured += charts.noise(kl, charts.STEP, divergence, "noise_kl")
        below.append(measured.properties(**SIZE, title=f"(b) {scope}"))
    chart: alt.ConcatChart = alt.concat(*above, *below, columns=len(scopes))
    apart: alt.ConcatChart = chart.resolve_scale(color="independent", strokeDash="independent")
    return apart


def _reaches_noise(rows: pa.Table) -> bool:
    """True if the smallest measurement is less than a hundred times the noise floor."""
    smallest, floor = (
        pc.min(rows.column("measured")).as_py(),
        pc.max(rows.column("noise_kl")).as_py(),
    )
    return bool(smallest and floor) and smallest < 100 * floor
