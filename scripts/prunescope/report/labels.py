"""Positions of the labels of points: beside the point, without covering anything else."""

from collections.abc import Sequence
from typing import NamedTuple

LETTER, HEIGHT = 5.6, 10.0
"""The width of a letter and the height of a line at a font size of 10, in pixels."""

POINT = 6.0
"""Half the width of a point, in pixels."""


class Box(NamedTuple):
    """A rectangle, in pixels from the lower left corner of the panel."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: "Box") -> bool:
        """True if the two rectangles overlap by more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )


def sides(
    points: Sequence[tuple[float, float]], texts: Sequence[str], size: tuple[float, float]
) -> list[str]:
    """The side of each point on which its text fits: right, left, above, below, or "" for none.

    Sides are chosen greedily, in the order of the points: a text covers no point and no earlier
    text, and stays inside the panel.

    Parameters
    ----------
    points : x from the left and y from the bottom of the panel, in pixels.
    texts : the text of each point.
    size : width and height of the panel, in pixels.
    """
    panel = Box(0, 0, *size)
    dots = [Box(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in points]
    placed: list[Box] = []
    chosen_sides = []
    for index, (point, text) in enumerate(zip(points, texts, strict=True)):
        obstacles = [*dots[:index], *dots[index + 1 :], *placed]
        free_boxes = {
            side: box
            for side, box in _boxes(*point, LETTER * len(text)).items()
            if _inside(box, panel) and not any(box.overlaps(obstacle) for obstacle in obstacles)
        }
        chosen_sides.append(next(iter(free_boxes), ""))
        placed.extend(list(free_boxes.values())[:1])
    return chosen_sides


def _boxes(x: float, y: float, width: float) -> dict[str, Box]:
    """The box of a text on each side of its point; the preferred side comes first."""
    half = HEIGHT / 2
    return {
        "right": Box(x + POINT, y - half, x + POINT + width, y + half),
        "left": Box(x - POINT - width, y - half, x - POINT, y + half),
        "above": Box(x - width / 2, y + POINT, x + width / 2, y + POINT + HEIGHT),
        "below": Box(x - width / 2, y - POINT - HEIGHT, x + width / 2, y - POINT),
    }


def _inside(box: Box, panel: Box) -> bool:
    return (
        panel.left <= box.left
        and panel.bottom <= box.bottom
        and box.right <= panel.right
        and box.top <= panel.top
    )
