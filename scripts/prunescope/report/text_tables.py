"""Tables of the report whose cells hold texts that a model wrote, with all characters visible."""

import sys
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
    shown: int = sys.maxsize
    """Groups that are shown at once; the reader opens the rest. A group starts with its heading."""

    def as_dict(self) -> dict[str, object]:
        """The table as JSON; invisible characters become names (`wording.visible`)."""
        return {
            "head": list(self.head),
            "shown": self.shown,
            "groups": [
                [[_written(cell) for cell in row] for row in group] for group in self.groups
            ],
        }

    @property
    def groups(self) -> list[list[Sequence[Cell]]]:
        """The rows, each heading with those below it."""
        groups: list[list[Sequence[Cell]]] = []
        for row in self.rows:
            if len(row) == 1 or not groups:
                groups.append([])
            groups[-1].append(row)
        return groups


def _written(cell: Cell) -> list[dict[str, str]]:
    return [{"text": wording.visible(part.text), "style": part.style} for part in cell]


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
