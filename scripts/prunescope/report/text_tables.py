"""Tables of the report whose cells hold texts that a model wrote, with all characters visible."""

from collections.abc import Sequence
from typing import NamedTuple

from prunescope.measures import wording


class Part(NamedTuple):
    """A piece of text in a cell, and its style: a class of reports/style.css, such as `strong`."""

    text: str
    style: str = "plain"


Cell = Sequence[Part]


class Table(NamedTuple):
    """The names of the columns, and rows of cells. A row of one cell is a heading."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def as_dict(self) -> dict[str, object]:
        """The table as JSON; invisible characters become names (`wording.visible`)."""
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
    """A cell with one part."""
    return [Part(str(value), style)]


def parted(text: str, equal: int, differing: int) -> Cell:
    """A cell in three parts: what a text shares with another, the first other token, the rest.

    Parameters
    ----------
    text : the whole text.
    equal : number of characters of the common beginning.
    differing : number of characters of the token after it.
    """
    end = equal + differing
    parts = (Part(text[:equal], "equal"), Part(text[equal:end], "parted"), Part(text[end:]))
    return [part for part in parts if part.text] or cell("(nothing)", "equal")
