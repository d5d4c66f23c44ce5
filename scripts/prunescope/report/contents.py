"""What is known of the figures before they are drawn: sections of the page, titles and captions."""

import ast
import inspect
from pathlib import Path
from typing import Any

import yaml

from prunescope.paths import REPORTS

OTHER_FIGURES = "More figures"
"""Heading of the figures that no section names."""


def entries() -> list[dict[str, Any]]:
    """The sections of the page in order, as reports/sections.yaml has them."""
    entries: list[dict[str, Any]] = yaml.safe_load((REPORTS / "sections.yaml").read_bytes())
    return entries


def is_of(figure: str, stem: str) -> bool:
    """Whether a figure is meant by the first words of its name, such as `fig04` or `ext_how`."""
    return f"{figure}_".startswith(f"{stem}_")


def heading_of(figure: str) -> str:
    """Heading of the section of the page that shows a figure."""
    for section in entries():
        for place in section["figures"]:
            stems = [place] if isinstance(place, str) else place["figures"]
            if any(is_of(figure, stem) for stem in stems):
                return str(section["heading"])
    return OTHER_FIGURES


def title_and_caption(doc: str | None) -> tuple[str, str]:
    """The first line of a docstring, and the rest of it with its paragraphs kept.

    Raises ValueError if one of the two is missing, because each figure needs a caption.
    """
    title, _, caption = inspect.cleandoc(doc or "").partition("\n")
    paragraphs = [" ".join(part.split()) for part in caption.strip().split("\n\n")]
    if not title or not any(paragraphs):
        raise ValueError("a chart module needs a docstring: a title line, then its caption.")
    return title.rstrip("."), "\n\n".join(paragraphs)


def described(chart_file: Path) -> dict[str, str]:
    """Title and caption of a figure, read from its chart module without running it.

    Parameters
    ----------
    chart_file : the module, whose docstring holds both.
    """
    doc = ast.get_docstring(ast.parse(chart_file.read_bytes()))
    return dict(zip(("title", "caption"), title_and_caption(doc), strict=True))
