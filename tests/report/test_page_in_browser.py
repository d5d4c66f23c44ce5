"""The page in a real browser, from disk and with the network cut."""

import re

import pytest

import browser
from picked_figure import by_block
from prunescope.report import page

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Opens a page with a panel of two figures at a fragment."""
    folder = tmp_path_factory.mktemp("browser")
    figures = {}
    for name, title in (("fig14_x", "Figure 14. One"), ("fig15_y", "Figure 15. Other")):
        texts = {"title": title, "caption": "c", "findings": ["<b>f</b>"], "query": "SELECT 1"}
        figures[name] = by_block()
        figures[name]["usermeta"] |= texts
    file = folder / "report.html"
    file.write_text(page.render(figures, [], [], {}), encoding="utf-8")
    return lambda fragment: browser.Opened(file, folder, fragment=fragment)


def chart(html: str, name: str) -> str:
    """The drawing of a figure; an empty text if it is hidden."""
    (figure,) = re.findall(rf'<figure id="{name}"(.*?)</figure>', html, re.DOTALL)
    drawn = re.search(r"<svg.*</svg>", figure, re.DOTALL)
    return drawn[0] if drawn and not figure.startswith(' hidden=""') else ""


def test_a_panel_shows_its_first_figure(opened):
    """Small multiples, one per block, without any error of the console."""
    shown = opened("")
    assert shown.errors == []
    assert len(re.findall(r">block \d<", chart(shown.html, "fig14_x"))) == 8
    assert chart(shown.html, "fig15_y") == ""


def test_a_link_picks_the_figure_of_a_panel(opened):
    shown = opened("fig15_y")
    assert shown.errors == []
    assert chart(shown.html, "fig14_x") == ""
    assert len(re.findall(r">block \d<", chart(shown.html, "fig15_y"))) == 8


def test_pickers_change_the_marks(opened):
    """One block is drawn alone; another temperature moves its line."""
    first = opened("fig14_x&block=3&temperature=1")
    second = opened("fig14_x&block=3&temperature=0.5")
    for shown in (first, second):
        assert shown.errors == []
        assert ">block " not in chart(shown.html, "fig14_x")
    labels = [
        re.findall(r">([\d.]+)</text>", chart(each.html, "fig14_x")) for each in (first, second)
    ]
    assert labels[0] != labels[1]
