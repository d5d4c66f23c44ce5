"""The report is one page: nothing in it leaves the page, whatever the data say."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from prunescope import page

HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>&\"'\u2028"


class Elements(HTMLParser):
    """Tags and attributes of a page, and the text of its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.scripts and self.lasttag == "script":
            self.scripts[-1] += data


def figure(text: str = "all well", agrees: bool | None = None) -> dict[str, Any]:
    """A specification whose every text is `text`."""
    return {
        "title": {"text": text, "subtitle": [text]},
        "mark": "line",
        "datasets": {"rows": [{"model": text, text: 1}]},
        "usermeta": {
            "title": text,
            "caption": f"{text}\n\n{text}",
            "findings": [{"finding": text, "agrees": agrees}],
            "query": f"SELECT '{text}'",
            "settings": {},
        },
    }


@pytest.fixture(scope="module")
def hostile() -> str:
    figures = {"fig04_x": figure(HOSTILE, False), "fig14_y": figure(HOSTILE, True)}
    return page.render(figures, [(HOSTILE, [(HOSTILE, "b"), (HOSTILE, HOSTILE)])])


def test_no_text_breaks_out(hostile: str) -> None:
    """The same elements as with harmless texts: none added, none swallowed."""
    harmless = {"fig04_x": figure("a", False), "fig14_y": figure("a", True)}
    expected = Elements(page.render(harmless, [("a", [("a", "b"), ("a", "a")])]))
    found = Elements(hostile)
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in expected.tags]
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in found.tags)


def test_data_arrive_unchanged(hostile: str) -> None:
    (specifications,) = [text for text in Elements(hostile).scripts if text.startswith("{")]
    found = json.loads(specifications)["fig04_x"]
    assert found["datasets"] == figure(HOSTILE)["datasets"]
    assert "usermeta" not in found


def test_page_asks_the_network_for_nothing(hostile: str) -> None:
    """No element loads anything, and the page forbids itself to."""
    elements = Elements(hostile).tags
    policy = [a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and str(policy[0]).startswith("default-src 'none'")
    assert not any(attributes.get("src") for _, attributes in elements)
    links = [str(attributes["href"]) for _, attributes in elements if "href" in attributes]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"@import|url\(", page._ours("style.css"))


def test_contents_lead_to_every_section_and_figure(hostile: str) -> None:
    elements = Elements(hostile).tags
    names = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = {str(attributes["href"]) for tag, attributes in elements if tag == "a"}
    assert {"#question", "#similarity", "#fig04_x", "#softmax", "#fig14_y", "#provenance"} <= links
    assert {link[1:] for link in links} <= set(names)


def test_every_figure_has_its_place() -> None:
    """In the paper's order within a section; one that no section names comes last."""
    names = ["ext_own", "fig15_b", "fig14_a", "fig06_c", "ext_influence"]
    found = page.sections({name: figure() for name in names})
    assert [(each.anchor, list(each.figures)) for each in found] == [
        ("influence", ["ext_influence"]),
        ("softmax", ["fig06_c", "fig14_a", "fig15_b"]),
        ("more", ["ext_own"]),
    ]


def test_what_contradicts_the_paper_is_told_first(hostile: str) -> None:
    differing = hostile.index("not as in the paper")
    assert differing < hostile.index(">as in the paper")
    figures = {"fig04_x": figure("Figure 4. A", True), "fig14_y": figure("Figure 14. B", False)}
    assert page.checked(figures) == {
        True: [("fig04_x", "Figure 4", "Figure 4. A")],
        False: [("fig14_y", "Figure 14", "Figure 14. B")],
    }
