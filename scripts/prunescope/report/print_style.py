"""Figures as files for a paper: black on white, as wide as one or two columns of a journal."""

import re
from collections.abc import Mapping
from typing import Any

import vl_convert

from prunescope.report import pickers

INCHES = {"one-column": 3.5, "two-columns": 7.16}
"""Widths of figures in a journal of two columns, by the name of the file."""

PIXELS_PER_INCH = 96

DOTS_PER_INCH = 300
"""Resolution of a PNG."""

SPACING, LEAST_WIDTH = 20, 80
"""Vega-Lite's space between panels, and the least width of one, in pixels."""

GUESSED_AXES, ATTEMPTS = 60, 3
"""The guessed width of the axes of a panel, in pixels, and how often the guess is corrected."""

STYLE: dict[str, Any] = {
    "background": "white",
    "font": "DejaVu Sans, sans-serif",
    "axis": {"labelFontSize": 9, "titleFontSize": 9, "labelColor": "black", "titleColor": "black"},
    "legend": {"labelFontSize": 9, "titleFontSize": 9, "labelLimit": 300},
    "header": {"labelFontSize": 9, "titleFontSize": 9},
    "title": {"fontSize": 10, "subtitleFontSize": 9},
}

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters that are none by XML 1.0 (production 2, Char)."""

Part = Mapping[str, Any]
"""A Vega-Lite specification or a part of it."""


def svg(figure: Part, inches: float) -> str:
    """A figure as it is first shown, as an SVG of this width; its title is left to the paper.

    Parameters
    ----------
    figure : as `draw_figure` writes it.
    """
    shown = _printable(pickers.first_shown(figure))
    untitled = {name: part for name, part in shown.items() if name not in ("title", "usermeta")}
    untitled["config"] = {**untitled.get("config", {}), **STYLE}
    room = inches * PIXELS_PER_INCH
    axes: float = GUESSED_AXES
    for _ in range(ATTEMPTS):
        drawn = vl_convert.vegalite_to_svg(fitted(untitled, room, axes))
        excess = _width(drawn) - room
        if -8 < excess <= 0:
            break
        axes += excess / _panels_per_row(untitled) + 1
    return _scaled(drawn, inches)


def _printable(part: Any) -> Any:
    """A part of a specification with � for characters that XML, and thus an SVG, cannot hold.

    Labels may be tokens of a model, which hold any character.
    """
    if isinstance(part, str):
        return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", part)
    if isinstance(part, Mapping):
        return {_printable(name): _printable(value) for name, value in part.items()}
    return [_printable(value) for value in part] if isinstance(part, list | tuple) else part


def png(drawn: str) -> bytes:
    """An SVG as a PNG for print."""
    return vl_convert.svg_to_png(drawn, scale=DOTS_PER_INCH / PIXELS_PER_INCH)


def fitted(part: Part, room: float, axes: float) -> dict[str, Any]:
    """The specification as wide as the room, with as many panels per row as fit.

    Parameters
    ----------
    room : width for the panels of the part and their axes, in pixels.
    axes : the width that the axis of one panel takes, in pixels.
    """
    copy = dict(part)
    if "columns" in copy:
        gap = copy["spacing"] if isinstance(copy.get("spacing"), int | float) else SPACING
        once, each = (axes, 0) if "facet" in copy else (0, axes)
        inner = copy["spec"] if "spec" in copy else copy["concat"][0]
        least = 0.75 * _panel_width(inner) + each
        columns = min(copy["columns"], int((room - once + gap) // (least + gap)))
        copy["columns"] = max(1, columns)
        panel = (room - once + gap) / copy["columns"] - gap
        if "spec" in copy:
            copy["spec"] = fitted(copy["spec"], panel, each)
        else:
            copy["concat"] = [fitted(view, panel, each) for view in copy["concat"]]
    elif "vconcat" in copy:
        copy["vconcat"] = [fitted(view, room, axes) for view in copy["vconcat"]]
    elif isinstance(copy.get("width"), int | float):
        copy["width"] = max(LEAST_WIDTH, int(room - axes))
    return copy


def _panel_width(part: Part) -> float:
    if "width" in part:
        return float(part["width"])
    views = part.get("vconcat") or part.get("concat") or [part.get("spec", {"width": 200})]
    return _panel_width(views[0])


def _panels_per_row(part: Part) -> int:
    """How many panels of a row have an axis of their own."""
    if "vconcat" in part and "columns" not in part:
        return _panels_per_row(part["vconcat"][0])
    return 1 if "facet" in part else int(part.get("columns", 1))


def _width(drawn: str) -> float:
    """The width of an SVG in pixels."""
    found = re.search(r'<svg[^>]* width="([\d.]+)"', drawn)
    if found is None:
        raise ValueError("this SVG does not say how wide it is.")
    return float(found[1])


def _scaled(drawn: str, inches: float) -> str:
    """The SVG at this width; what is drawn is scaled with it if it came out otherwise."""
    size = re.compile(r' width="([\d.]+)" height="([\d.]+)"')
    width, height = map(float, size.findall(drawn)[0])
    return size.sub(f' width="{inches}in" height="{inches * height / width:.4g}in"', drawn, count=1)
