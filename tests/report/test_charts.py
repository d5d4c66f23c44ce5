"""Each method has its own shape and a colour with sufficient contrast."""

import pyarrow as pa
import pytest

import contrast
from prunescope.compression import methods
from prunescope.report import charts


def test_every_method_has_its_own_colour_and_shape():
    assert set(methods.names()) <= set(charts.METHODS)
    colors, shapes = zip(*charts.METHODS.values(), strict=True)
    assert len(set(colors)) == len(set(shapes)) == len(charts.METHODS)


@pytest.mark.parametrize("method", charts.METHODS)
def test_contrast_is_at_least_three_to_one_in_both_themes(method):
    """WCAG 2 requires 3:1 for graphics, on white and on the dark background of the page."""
    color = contrast.luminance(charts.METHODS[method][0])
    for paper in ("#ffffff", "#14171c"):
        assert contrast.ratio(color, contrast.luminance(paper)) >= 3


def test_tasks_that_replace_those_of_the_paper_are_named():
    """There is no such line if the tasks are those of the paper."""
    rows = pa.table(
        {
            "task": ["hellaswag", "squad", "nq_open"],
            "family": ["non_generative", "generative", "generative"],
        }
    )
    papers = {"non_generative": ["hellaswag"], "generative": ["gsm8k", "humaneval"]}
    assert charts.substitutes(rows, papers) == [
        "Tasks other than the paper's: nq_open and squad in place of gsm8k and humaneval."
    ]
    assert charts.substitutes(rows, {"generative": ["squad"]}) == []
