"""Each page of docs/extend/ works as written, from a clean checkout."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import doc_pages
from tiny_run import OFFLINE, ROOT, Checkout
from warm_python import WarmPython

PAGES = sorted((ROOT / "docs/extend").glob("[a-z]*.md"))
ENVIRONMENT = {
    **{
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "PYTHON"))
    },
    **OFFLINE,
    "PYTHONWARNINGS": "error:prunescope:FutureWarning",  # an import path of release 0.1
    "OMP_NUM_THREADS": "1",  # the other cores are other workers'
    "PYTEST_ADDOPTS": "-W ignore::pytest.PytestAssertRewriteWarning",  # of what is warm already
}


@pytest.fixture(scope="module")
def python() -> Iterator[WarmPython]:
    """What runs the commands of all pages."""
    with WarmPython(ENVIRONMENT) as warm:
        yield warm


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_followed(page: Path, python: WarmPython, tmp_path: Path) -> None:
    """Without the network, each block of the page is written, applied or run."""
    text = page.read_text(encoding="utf-8")
    assert {"sh", "text"} <= {step.kind for step in doc_pages.steps(text)}
    folder = Checkout(tmp_path / "prunescope").folder
    doc_pages.follow(text, folder, ENVIRONMENT, python)


def test_edits_fit_exactly_one_place() -> None:
    """The lines around an edit determine its place."""
    text = "a\nb\na\nb\nc\n"
    assert doc_pages.edited(text, " b\n-c\n+d\n@@\n b\n a\n+x\n") == "a\nb\na\nx\nb\nd\n"
    with pytest.raises(AssertionError, match="2 places"):
        doc_pages.edited(text, " a\n+x\n")
    with pytest.raises(AssertionError, match="0 places"):
        doc_pages.edited(text, "-z\n")


def test_outputs_are_compared_line_by_line() -> None:
    """In order, with approximately equal numbers; other lines may be printed between them."""
    printed = "loading\nblock 0  0.1234\nblock 1  0.5\ndone\n"
    doc_pages.check_output("block 0 0.1235\n...\n... 1 ...\ndone\n", printed)
    for expected in ("block 0 0.2\n", "done\nloading\n", "block 2 ...\n"):
        with pytest.raises(AssertionError, match="not printed"):
            doc_pages.check_output(expected, printed)
