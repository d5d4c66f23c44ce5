"""Figure 1. Scores of multiple-choice and generation tasks against the number of dropped parts.

Parts are attention sublayers, MLP sublayers or whole blocks, and the least influential are dropped
first. The upper row shows the score of each task with its 95 % interval over items, the lower row
its share of the dense model's score; the dashed lines are the dense model. If the model is near the
floor on the paper's generation tasks, another task takes their place, as the lines above the chart
say. Look for the number at which an orange line has fallen and the others have not. Chance is not
zero: it is a quarter if there are four options.

Thin lines in the lower row are the paper's, for Qwen2.5-7B-Instruct: HellaSwag and MMLU in blue,
GSM8K and HumanEval in orange. Its model has seven billion parameters and is far from chance on all
four, so that it has more to lose, and loses it later.
"""

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from altair.typing import ChartType

from prunescope.report import charts

TOOLTIP = ("task:N", "metric:N", "n_drop:Q", "score:Q", "share_of_dense:Q", "n_items:Q")


def draw(rows: pa.Table) -> ChartType:
    """Scores above and shares of the dense score below; a column per kind of part."""
    papers_tasks = {"generative": ["gsm8k", "humaneval"]}
    scored = rows.filter(pc.is_null(rows.column("paper")))
    subtitle = [*charts.substitutes(scored, papers_tasks), *charts.items_and_shots(scored)]
    return charts.figure(rows, _one_model, __doc__, subtitle)


def _one_model(rows: pa.Table) -> alt.ConcatChart:
    panels = []
    published = rows.filter(pc.is_valid(rows.column("paper")))
    rows = rows.filter(pc.is_null(rows.column("paper")))
    marks = charts.task_marks(rows)
    for column, title in (("score", "Score"), ("share_of_dense", "Score / dense score")):
        value = charts.Value(title, alt.Scale(zero=True))
        for kind, name in charts.dropped_parts(rows).items():
            of_kind = charts.where(rows, "dropped", kind)
            panel = charts.over_drops(of_kind, value, column, marks, TOOLTIP)
            if column == "share_of_dense":
                panel = panel + _published(charts.where(published, "dropped", kind), value)
            panels.append(panel.properties(width=230, height=170, title=name))
    return alt.concat(*panels, columns=len(panels) // 2)


def _published(rows: pa.Table, value: charts.Value) -> alt.LayerChart:
    """The paper's share of dense, a thin line per task in the colour of its family."""
    families = {"non_generative": charts.BLUE, "generative": charts.ORANGE}
    encoded = {
        "x": alt.X("n_drop:Q"),
        "y": value.of("paper"),
        "detail": "task:N",
        "tooltip": ["task:N", "paper:Q"],
    }
    lines = [
        alt.Chart(charts.where(rows, "family", family))
        .mark_line(color=color, **charts.THIN)
        .encode(**encoded)
        for family, color in families.items()
    ]
    layers: alt.LayerChart = alt.layer(*lines)  # type: ignore[assignment] # no facets inside
    return layers
