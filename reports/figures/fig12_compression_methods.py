"""Figure 12. Dropping, sparsity and quantization, step by step.

Every variant answers on its own, greedily, beside dense. (a) to (c) cosine similarity of hidden
states, logits and probabilities; (d) length of the logit shift beside the logits, (e) its variance
under p, (f) the KL divergence, T = 1. Above one arithmetic prompt, as in the paper, below the mean
over all prompts that reach the step. Look for which lines leave at once, which later, and which
stay; a sudden fall is the step at which a text first differs. Dotted: what rounding alone would
make (the noise floor).
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

PANELS = {
    "embedding": ("(a) hidden states", charts.Value("Cosine similarity")),
    "logit": ("(b) logits", charts.Value("Cosine similarity")),
    "probability": ("(c) probabilities", charts.Value("Cosine similarity")),
    "magnitude": ("(d) logit shift", charts.Value("|Δz| / |z|")),
    "variance": ("(e) variance of Δz under p", charts.Value("Var(Δz)")),
    "kl": ("(f) KL divergence", charts.Value("KL(p‖q) in nats")),
}


def draw(rows: pa.Table) -> ChartType:
    """Six panels per scope, a line per variant."""
    return charts.titled(charts.per_model(rows, _one_model), __doc__)


def _one_model(rows: pa.Table) -> alt.VConcatChart:
    color = _colors(rows)
    scopes = []
    for scope in charts.scopes(rows):
        of_scope = rows.filter(pc.equal(rows.column("scope"), scope))
        panels = []
        for panel, (title, value) in PANELS.items():
            shown = of_scope.filter(pc.equal(of_scope.column("panel"), panel))
            lines = alt.Chart(shown).mark_line(strokeWidth=1.6)
            chart = lines.encode(
                charts.STEP,
                value.of("measured"),
                color,
                tooltip=["variant:N", "step:Q", "measured:Q", "prompts:Q"],
            )
            if shown.column("noise").null_count < len(shown):
                chart = chart + charts.noise(shown, charts.STEP, value, "noise")
            panels.append(chart.properties(width=240, height=140, title=title))
        scopes.append(alt.concat(*panels, columns=3).properties(title=scope))
    return alt.vconcat(*scopes)


def _colors(rows: pa.Table) -> alt.Color:
    """The colour of each variant's method; a second variant of one method is a lighter one."""
    methods = dict(zip(rows["variant"].to_pylist(), rows["method"].to_pylist(), strict=True))
    scale = alt.Scale(
        domain=list(methods), range=[charts.METHODS[method][0] for method in methods.values()]
    )
    return alt.Color("variant:N", scale=scale, legend=alt.Legend(title=None, orient="top"))
