"""Where the names of points go: beside their point, over nothing else."""

from collections.abc import Sequence
from typing import NamedTuple

LETTER, HEIGHT = 5.6, 10.0
"""Width of a letter and height of a line at a font size of 10, in pixels."""

POINT = 6.0
"""Half the room a point takes, in pixels."""


class Box(NamedTuple):
    """A rectangle, in pixels from the lower left corner of a panel."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        """True where the two share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )


def sides(
    points: Sequence[tuple[float, float]], texts: Sequence[str], size: tuple[float, float]
) -> list[str]:
    """For each point the side its text goes to: right, left, above, below, or "" for nowhere.

    Greedy, in order: a text covers no point and no earlier text, and stays inside the panel.

    Parameters
    ----------
    points : x from the left and y from the bottom of the panel, in pixels.
    size : width and height of the panel, in pixels.
    """
    panel = Box(0, 0, *size)
    dots = [Box(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in points]
    written: list[Box] = []
    chosen = []
    for place, (point, text) in enumerate(zip(points, texts, strict=True)):
        others = [*dots[:place], *dots[place + 1 :], *written]
        free = {
            side: box
            for side, box in _boxes(*point, LETTER * len(text)).items()
            if _inside(box, panel) and not any(box.meets(other) for other in others)
        }
        chosen.append(next(iter(free), ""))
        written.extend(list(free.values())[:1])
    return chosen


def _boxes(x: float, y: float, width: float) -> dict[str, Box]:
    """Room for a text on each side of a point, the best side first."""
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
