"""Each method has its own shape and a colour with sufficient contrast."""

import pyarrow as pa
import pytest

from prunescope.compression import methods
from prunescope.report import charts


def _luminance(color):
    """Relative luminance of WCAG 2."""
    channels = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_method_has_its_own_colour_and_shape():
    assert set(methods.names()) <= set(charts.METHODS)
    colors, shapes = zip(*charts.METHODS.values(), strict=True)
    assert len(set(colors)) == len(set(shapes)) == len(charts.METHODS)


@pytest.mark.parametrize("method", charts.METHODS)
def test_contrast_is_at_least_three_to_one_in_both_themes(method):
    """WCAG 2 requires 3:1 for graphics, on white and on the dark background of the page."""
    lum = _luminance(charts.METHODS[method][0])
    assert (1 + 0.05) / (lum + 0.05) >= 3
    assert (lum + 0.05) / (_luminance("#14171c") + 0.05) >= 3


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
