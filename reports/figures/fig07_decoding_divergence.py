"""Figure 7. Step by step the pruned model leaves the dense one, and does not return.

Both models answer on their own, greedily. (a) Cosine similarity of their outputs in the three
spaces, (b) the KL divergence of their next-token distributions and half the variance of the logit
shift (Theorem 3), T = 1. Left one arithmetic prompt, as in the paper; right the mean over all
prompts that reach the step, with their range. Look for the first step, which has read nothing but
the prompt, and for how fast similarity falls once the texts differ. Dotted: what rounding alone
would make (the noise floor); in (b) where it is within a hundredth of what is shown.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

SIZE = {"width": 360, "height": 200}


def draw(rows: pa.Table) -> ChartType:
    """Similarity above, divergence below; a column per scope."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    scopes = charts.scopes(rows)
    similarity = charts.Value("Cosine similarity with dense")
    divergence = charts.Value("KL(p‖q) in nats", charts.LOG)
    above, below = [], []
    for scope in scopes:
        of_scope = rows.filter(pc.equal(rows.column("scope"), scope))
        spaces = charts.mean_with_range(of_scope, charts.STEP, similarity)
        above.append(spaces.properties(**SIZE, title=f"(a) {scope}"))
        kl = of_scope.filter(pc.equal(of_scope.column("space"), "probability"))
        measured = charts.measured_and_estimated(kl, divergence, "Theorem 3")
        if _reaches_noise(kl):
            measured += charts.noise(kl, charts.STEP, divergence, "noise_kl")
        below.append(measured.properties(**SIZE, title=f"(b) {scope}"))
    chart: alt.ConcatChart = alt.concat(*above, *below, columns=len(scopes))
    apart: alt.ConcatChart = chart.resolve_scale(color="independent", strokeDash="independent")
    return apart


def _reaches_noise(rows: pa.Table) -> bool:
    """True where the noise floor is no further below what is shown than two decades."""
    smallest, floor = (
        pc.min(rows.column("measured")).as_py(),
        pc.max(rows.column("noise_kl")).as_py(),
    )
    return bool(smallest and floor) and smallest < 100 * floor
