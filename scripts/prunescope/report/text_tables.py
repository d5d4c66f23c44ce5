"""Tables of a report whose cells hold texts: what a model wrote, shown as it is and harmless."""

from collections.abc import Sequence
from typing import NamedTuple

from prunescope.measures import wording


class Part(NamedTuple):
    """A stretch of text in a cell, and how it is set: plain, `equal`, `parted`, `strong`."""

    text: str
    style: str = "plain"


Cell = Sequence[Part]


class Table(NamedTuple):
    """Columns' names, and rows of cells; a row of one cell heads those below it."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def as_dict(self) -> dict[str, object]:
        """The table as JSON, every character of its texts drawn or named (`texts.visible`)."""
        return {
            "head": list(self.head),
            "rows": [
                [
                    [{"text": wording.visible(p.text), "style": p.style} for p in cell]
                    for cell in row
                ]
                for row in self.rows
            ],
        }


def cell(value: object, style: str = "plain") -> Cell:
    """A cell of one part."""
    return [Part(str(value), style)]


def parted(text: str, equal: int, differing: int) -> Cell:
    """A text up to where it leaves another, the token at which it does, and what follows.

    Parameters
    ----------
    equal, differing : characters of the common beginning, and of the token after it.
    """
    end = equal + differing
    parts = (Part(text[:equal], "equal"), Part(text[equal:end], "parted"), Part(text[end:]))
    return [part for part in parts if part.text] or cell("(nothing)", "equal")
