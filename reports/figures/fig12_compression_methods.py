"""Figure 12. Dropping, sparsity and quantization compared over decoding steps.

Each variant and the dense model write their own greedy answers (free running), at T = 1. Panels (a)
to (c) show the cosine similarity of hidden states, logits and probabilities; (d) the length of the
logit shift divided by that of the logits, (e) its variance under p, and (f) the KL divergence. The
upper half is one arithmetic prompt, as in the paper; the lower half is the mean over all prompts
that reach the step. Dotted lines are the noise floor, which is what rounding alone would make. Look
for which lines fall at once, which later and which not at all. A sudden fall is the step at which
a text first differs from the dense one.

Thin lines are the curves that the paper publishes for Qwen2.5-7B-Instruct and its own prompt, over
the steps that ours reach: eight attention sublayers dropped, Wanda 4:8 and AWQ with 4 bits. Texts
of another model part at other steps, so that only their levels can be compared.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

PANELS = {
    "embedding": ("(a) hidden states", charts.Value("Cosine similarity")),
    "logit": ("(b) logits", charts.Value("Cosine similarity")),
    "probability": ("(c) probabilities", charts.Value("Cosine similarity")),
    "magnitude": ("(d) logit shift", charts.Value("|Δz| / |z|")),
    "variance": ("(e) variance of Δz under p", charts.Value("Var(Δz) in logits²")),
    "kl": ("(f) KL divergence", charts.Value("KL(p‖q) in nats")),
}


def draw(rows: pa.Table) -> ChartType:
    """Six panels per scope, with a line per variant."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.VConcatChart:
    color = _colors(rows)
    scopes = []
    for scope in charts.scopes(rows):
        of_scope = charts.where(rows, "scope", scope)
        panels = []
        for panel, (title, value) in PANELS.items():
            of_panel = charts.where(of_scope, "panel", panel)
            lines = alt.Chart(of_panel).mark_line(strokeWidth=1.6)
            chart = lines.encode(
                charts.STEP,
                value.of("measured"),
                color,
                tooltip=["variant:N", "step:Q", "measured:Q", "prompts:Q"],
            )
            if of_panel.column("paper").null_count < len(of_panel):
                published = alt.Chart(of_panel).mark_line(**charts.THIN)
                chart = chart + published.encode(
                    charts.STEP, value.of("paper"), color, tooltip=["variant:N", "paper:Q"]
                )
            if of_panel.column("noise").null_count < len(of_panel):
                chart = chart + charts.noise(of_panel, charts.STEP, value, "noise")
            panels.append(chart.properties(width=240, height=140, title=title))
        scopes.append(alt.concat(*panels, columns=3).properties(title=scope))
    return alt.vconcat(*scopes)


def _colors(rows: pa.Table) -> alt.Color:
    """The colour of each variant: that of its method."""
    methods = dict(zip(rows["variant"].to_pylist(), rows["method"].to_pylist(), strict=True))
    scale = alt.Scale(
        domain=list(methods), range=[charts.METHODS[method][0] for method in methods.values()]
    )
    return alt.Color("variant:N", scale=scale, legend=alt.Legend(title=None, orient="top"))
