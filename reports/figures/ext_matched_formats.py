"""The same questions as retrieval, multiple choice and generation.

Items of SQuAD, GSM8K and HumanEval are each asked three times: to find the answer among all answers
of the set, to choose it among four, and to write it. The left panel shows the share of correct
answers with 95 % intervals over items, and chance as a tick. The right panel shows the share of
answers that are the same as the dense model's, which shows a collapse even if the dense model
answers little correctly. The content is the same and only the format differs. Look for variants
whose orange point in the right panel has fallen while the others have not.
"""

import altair as alt
import pyarrow as pa
from altair.typing import ChartType

from prunescope.report import charts

FORMATS = {
    "retrieval": charts.BLUE,
    "multiple_choice": charts.GREEN,
    "generation": charts.ORANGE,
}


def draw(rows: pa.Table) -> ChartType:
    """Scores and agreement by variant, with a point per format."""
    return charts.figure(rows, _one_model, __doc__)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    variants = rows.column("variant").unique().to_pylist()
    scale = alt.Scale(domain=list(FORMATS), range=list(FORMATS.values()))
    legend = alt.Legend(title=None, orient="top", labelExpr="replace(datum.label, '_', ' ')")
    base = alt.Chart(rows).encode(
        alt.Y("variant:N", sort=variants, title=None),
        alt.Color("asked_as:N", scale=scale, legend=legend),
        yOffset=alt.YOffset("asked_as:N", sort=list(FORMATS)),
        tooltip=[
            "variant:N",
            alt.Tooltip("asked_as:N", title="format"),
            "score:Q",
            "chance:Q",
            alt.Tooltip("kept:Q", title="share kept above chance"),
            "agreement:Q",
            "items:Q",
        ],
    )
    domain = alt.Scale(domain=[0, 1])
    axis = alt.Axis(title="Share of correct answers", tickCount=5)
    points = base.mark_point(filled=True, size=60, opacity=1)
    whiskers = base.mark_rule(strokeWidth=1.5).encode(
        alt.X("low:Q", axis=axis, scale=domain), alt.X2("high:Q")
    )
    size = {"width": 320, "height": 40 * len(variants)}
    chance = base.mark_tick(thickness=2, size=9).encode(alt.X("chance:Q", axis=axis, scale=domain))
    scores = points.encode(alt.X("score:Q", axis=axis, scale=domain))
    right = alt.layer(whiskers, chance, scores)
    same = alt.Axis(title="Share of answers equal to dense", tickCount=5)
    agreement = points.encode(alt.X("agreement:Q", axis=same, scale=domain))
    chart: alt.ConcatChart = alt.concat(
        right.properties(**size), agreement.properties(**size), columns=2
    )
    return chart
