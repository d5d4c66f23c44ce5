"""The report is one file that loads nothing, for any data."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

import contrast
from prunescope.inference import claims
from prunescope.report import judged_claims, page, text_tables

HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>&\"'\u2028"


class Elements(HTMLParser):
    """Tags and attributes of a page, and the texts of its scripts and style sheets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._within = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag
        if tag == "script":
            self.scripts.append("")
        if tag == "style":
            self.styles.append("")

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts[-1] += data
        if self._within == "style":
            self.styles[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._within = ""


def figure(text: str = "all well") -> dict[str, Any]:
    """A specification whose every text is `text`."""
    return {
        "title": {"text": text, "subtitle": [text]},
        "mark": "line",
        "datasets": {"rows": [{"model": text, text: 1}]},
        "usermeta": {
            "title": text,
            "caption": f"{text}\n\n{text}",
            "findings": [text],
            "query": f"SELECT '{text}'",
            "settings": {},
        },
    }


@pytest.fixture(scope="module")
def hostile() -> str:
    figures = {"fig04_sublayer_similarity": figure(HOSTILE), "fig14_y": figure(HOSTILE)}
    facts = [(HOSTILE, [(HOSTILE, "b"), (HOSTILE, HOSTILE)])]
    return page.render(figures, [*judged(HOSTILE)], facts, {HOSTILE: [HOSTILE]})


def judged(text: str, verdict: str = "holds") -> list[dict[str, Any]]:
    """Rows of `claim_verdict` of two claims, the second for two subjects."""
    row = {"model": text, "n": 12, "value": 0.6, "low": 0.55, "high": 0.7, "p_value": 0.01}
    row |= {"n_tests": 3, "verdict": verdict, "reason": text, "n_to_decide": None}
    return [
        row | {"claim": "probabilities-least-similar", "subject": text},
        row | {"claim": "logits-more-similar", "subject": text},
        row | {"claim": "logits-more-similar", "subject": f"other {text}", "verdict": "undecided"},
    ]


def test_text_of_data_adds_no_elements(hostile: str) -> None:
    """The same elements as with harmless texts: none added, none swallowed."""
    harmless = {"fig04_sublayer_similarity": figure("a"), "fig14_y": figure("a")}
    facts = [("a", [("a", "b"), ("a", "a")])]
    expected = Elements(page.render(harmless, judged("a"), facts, {"a": ["a"]}))
    found = Elements(hostile)
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in expected.tags]
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in found.tags)


def test_data_are_embedded_unchanged(hostile: str) -> None:
    (specifications,) = [text for text in Elements(hostile).scripts if text.startswith("{")]
    found = json.loads(specifications)["fig04_sublayer_similarity"]
    (columns,) = found["datasets"].values()
    assert columns["same"] == {"model": HOSTILE, HOSTILE: 1} and columns["length"] == 1
    assert "usermeta" not in found


def test_columns_hold_all_that_rows_hold() -> None:
    """Also where values look equal but are not of one type, or are missing."""
    rows = [{"a": 1, "b": None, "c": 1.0}, {"a": True, "b": 2, "c": 1.0}]
    found = page.by_column(rows)
    assert found["same"] == {"c": 1.0}
    assert [
        {**found["same"], **{name: values[place] for name, values in found["lists"].items()}}
        for place in range(found["length"])
    ] == rows
    assert found["lists"]["a"][1] is True
    assert page.by_column([])["length"] == 0


def test_the_page_loads_nothing_from_the_network(hostile: str) -> None:
    """No element loads anything, and the policy of the page forbids it."""
    elements = Elements(hostile).tags
    assert directives(hostile)["default-src"] == ["'none'"]
    assert not any(attributes.get("src") for _, attributes in elements)
    links = [str(attributes["href"]) for _, attributes in elements if "href" in attributes]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"@import|url\(", page._report_file("style.css"))


def directives(html: str) -> dict[str, list[str]]:
    """The page's one policy, which stands before the first style sheet and script."""
    tags = Elements(html).tags
    policies = [
        (place, str(attributes["content"]))
        for place, (_, attributes) in enumerate(tags)
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    ((place, policy),) = policies
    assert not {tag for tag, _ in tags[:place]} & {"script", "style"}
    parts = [directive.split() for directive in policy.split(";")]
    assert len({name for name, *_ in parts}) == len(parts)
    return {name: values for name, *values in parts}


def hashed(text: str) -> str:
    digest = hashlib.sha256(text.replace("\r\n", "\n").replace("\r", "\n").encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def test_the_policy_allows_only_the_content_of_the_page(hostile: str) -> None:
    """Scripts and style sheets are allowed by their hashes; no text becomes code."""
    page_parts = Elements(hostile)
    allowed = directives(hostile)
    scripts = [text for text in page_parts.scripts if not text.startswith("{")]
    assert allowed["script-src"] == [hashed(text) for text in scripts]
    assert allowed["style-src"] == [hashed(text) for text in page_parts.styles]
    assert len(scripts) == 2 and len(page_parts.styles) == 1
    for name in ("default-src", "base-uri", "form-action"):
        assert allowed[name] == ["'none'"]
    assert allowed["img-src"] == ["data:"]
    assert set(allowed) == {
        *("default-src", "script-src", "style-src", "img-src", "base-uri", "form-action")
    }
    assert not any("unsafe" in value for values in allowed.values() for value in values)


def test_the_page_contains_nothing_that_its_policy_forbids(hostile: str) -> None:
    """No style attributes and no handlers; Vega neither compiles text nor adds style sheets."""
    tags = Elements(hostile).tags
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert not any("style" in attributes for _, attributes in tags)
    behaviour = page._report_file("report.js")
    for option in ("ast: true", "defaultStyle: false", "disableDefaultStyle: true"):
        assert option in behaviour
    assert "vegaEmbed(element, { ...spec, config }, embedding)" in behaviour


def test_the_contents_link_to_every_section_and_figure(hostile: str) -> None:
    elements = Elements(hostile).tags
    names = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = {str(attributes["href"]) for tag, attributes in elements if tag == "a"}
    assert {
        "#claims",
        "#similarity",
        "#fig04_sublayer_similarity",
        "#blocks",
        "#fig14_y",
        "#provenance",
    } <= links
    assert {link[1:] for link in links} <= set(names)


def test_figures_are_in_the_order_of_the_paper() -> None:
    """Within a section; a figure that no section names comes last."""
    names = ["ext_own", "fig15_b", "fig14_a", "fig06_c", "ext_influence"]
    found = page.sections({name: figure() for name in names})
    assert [(each.anchor, list(each.figures)) for each in found] == [
        ("influence", ["ext_influence"]),
        ("softmax", ["fig06_c"]),
        ("blocks", ["fig14_a", "fig15_b"]),
        ("more", ["ext_own"]),
    ]


def test_figures_of_a_panel_share_a_place() -> None:
    """If the run has only one of them, it stands alone, like any other figure."""
    two = page.sections({name: figure() for name in ("fig14_a", "fig15_b")})
    assert [(panel.anchor, list(panel.figures)) for panel in two[0].panels] == [
        ("estimates", ["fig14_a", "fig15_b"])
    ]
    one = page.sections({"fig15_b": figure()})
    assert [(panel.anchor, list(panel.figures)) for panel in one[0].panels] == [
        ("fig15_b", ["fig15_b"])
    ]


def test_a_chart_has_a_text_that_says_what_it_shows() -> None:
    html = page.render({"fig14_y": figure("Figure 14. B")}, [], [], {})
    (chart,) = [each for tag, each in Elements(html).tags if "data-figure" in each]
    assert chart["role"] == "img"
    assert chart["aria-label"] == "Figure 14. B. Figure 14. B"  # the title, then the finding


def test_the_rest_of_a_long_table_is_opened_by_the_reader() -> None:
    """Three prompts are shown, each under its heading."""
    rows = [[text_tables.cell(f"prompt {n}")] for n in range(5)]
    table = text_tables.Table(("variant", "text"), rows, shown=3).as_dict()
    html = page.render({"tab02_x": figure("Table 2. C") | {"table": table}}, [], [], {})
    shown, _, rest = html.partition('<details class="further">')
    assert [f"prompt {n}" in shown for n in range(5)] == [True, True, True, False, False]
    assert "<summary>2 more</summary>" in rest and "prompt 4" in rest


def test_the_page_says_what_was_run() -> None:
    html = page.render({"fig14_y": figure("x")}, [], [], {}, run=[("Model", "tiny <1>")])
    assert "<dt>Model</dt><dd>tiny &lt;1&gt;</dd>" in html


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_have_sufficient_contrast(theme: str) -> None:
    """WCAG 2 AA requires 4.5:1 between each colour of text and the page."""
    style = page._report_file("style.css")
    schemes = style.split("@media (prefers-color-scheme: dark)")
    block = schemes[0] if theme == "light" else schemes[1].split("}")[0]
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    assert {"paper", "ink", "quiet", "link", "good", "bad"} <= set(colors)
    paper = contrast.luminance(colors["paper"])
    for name in ("ink", "quiet", "link", "good", "bad"):
        assert contrast.ratio(contrast.luminance(colors[name]), paper) >= 4.5, name


def test_a_claim_is_told_with_its_evidence() -> None:
    """Value, interval and number of prompts, the verdict, and where it is shown."""
    figures = {"fig04_sublayer_similarity": figure("Figure 4. A")}
    html = page.render(figures, judged(""), [], {})
    assert html.count("60 % (55 % to 70 %, 12 prompts)") == 6  # in the table and under the figure
    assert "holds × 1" in html and "undecided × 1" in html
    assert '<a href="#fig04_sublayer_similarity">Figure 4</a>' in html


def test_a_claim_of_a_missing_figure_leads_nowhere() -> None:
    html = page.render({"fig14_y": figure("Figure 14. B")}, judged(""), [], {})
    assert 'href="#fig04' not in html


def test_a_page_without_verdicts_has_no_claims() -> None:
    assert 'id="claims"' not in page.render({"fig14_y": figure("Figure 14. B")}, [], [], {})


def test_what_is_missing_for_a_verdict_is_told() -> None:
    (row, *_) = judged("")
    row |= {"reason": "p = 0.3", "n_to_decide": 1200, "low": None, "high": None}
    (found,) = judged_claims.judged(claims.read_all(), [row])
    (line,) = found.lines
    assert line.evidence == "60 % (12 prompts) · p = 0.3 · about 1,200 prompts would decide"


def test_models_are_named_where_there_are_several() -> None:
    rows = [row | {"model": model} for model in ("one", "two") for row in judged("x")[:1]]
    (found,) = judged_claims.judged(claims.read_all(), rows)
    assert [line.about for line in found.lines] == ["one: x", "two: x"]
