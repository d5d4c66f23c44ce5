"""Documentation is checked for links, paths, lengths and versions."""

import re
from pathlib import Path

import pytest
import yaml

from prunescope.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LONGEST_README = 900
GENERATED = ("store/", "results/", "logs/", ".venv/", ".snakemake/", "inputs/")
"""Folders of what a run makes or a user puts there: never in the repository."""

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"\.?[\w-]+(/[\w.-]+)*/[\w.-]*")
"""Words with a slash that a repository could hold, a folder with a slash at its end."""


def _prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def _is_in_repository(path: str) -> bool:
    return path.startswith(GENERATED) or (ROOT / path).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_has_a_target(page):
    for link in _LINK.findall(_prose(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in _anchors(target), f"{link} names no heading"


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if page.name not in ("CHANGELOG.md", "config.md") and page.parent.name != "extend"
    ],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_path_in_code_spans_exists(page):
    """Except for removed files (changelog), keys (config) and files that the reader writes."""
    named = [code for code in _CODE.findall(_prose(page)) if _PATH.fullmatch(code)]
    assert not [path for path in named if not _is_in_repository(path)]


def test_the_readme_is_short():
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    assert len(words) <= LONGEST_README


def test_the_readme_names_the_commands_of_ci():
    """Those of .ci/run that a reader would type."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"make report", "make test"} <= set(re.findall(r"^make \w+", readme, re.MULTILINE))


def test_the_newest_version_of_the_changelog_is_cited():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## (\d\S*) \((\d{4}-\d\d-\d\d)\)$", changelog, re.MULTILINE)
    assert released
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], str(cited["date-released"])) == released.groups()
