"""Pickers: the columns of a figure's rows whose values the reader chooses on the page.

A figure with pickers holds more rows than it shows at once. The page shows the rows that agree with
every picker; where a picker stands on all values, its column does not matter. In print a figure is
shown as the page first shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from altair.typing import ChartType


@dataclass(frozen=True)
class Picker:
    """A column, its title, the values to choose from, and the one that is chosen at first.

    `every` names the choice of all values at once; it is empty if there is none. `first` is None if
    all values are shown at first.
    """

    column: str
    title: str
    values: Sequence[Mapping[str, Any]]
    first: Any
    every: str = ""


def picker(
    rows: pa.Table,
    column: str,
    title: str,
    written: Callable[[Any], str] = str,
    first: object = None,
    every: str = "",
) -> Picker | None:
    """A picker of a column's values in ascending order, or None if there are fewer than two.

    Parameters
    ----------
    rows : the rows of the figure.
    written : how a value is written for the reader.
    first : the value that is chosen at first; the smallest one if no row has it.
    every : how the choice of all values is written; it is then the first choice.
    """
    found = sorted(rows.column(column).drop_null().unique().to_pylist())
    if len(found) < 2:
        return None
    values = [{"value": value, "text": written(value)} for value in found]
    start = first if first in found else found[0]
    return Picker(column, title, values, None if every else start, every)


def with_pickers(chart: ChartType, *pickers: Picker | None) -> ChartType:
    """The chart with these pickers; those that are None are left out."""
    described = [asdict(each) for each in pickers if each]
    picked: ChartType = chart.properties(usermeta={"pickers": described})
    return picked


def first_shown(figure: Mapping[str, Any]) -> dict[str, Any]:
    """The figure's specification with only the rows that the page shows at first.

    Parameters
    ----------
    figure : as `draw_figure` writes it.
    """
    wanted = {
        each["column"]: each["first"]
        for each in figure["usermeta"].get("pickers", [])
        if each["first"] is not None
    }

    def shown(row: Mapping[str, Any]) -> bool:
        return all(row.get(column) in (None, value) for column, value in wanted.items())

    datasets = {
        name: [row for row in rows if shown(row)] for name, rows in figure["datasets"].items()
    }
    return {**figure, "datasets": datasets}
