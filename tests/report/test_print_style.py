"""Figures for a paper are as wide as asked, and show what the page first shows."""

import re

import pyarrow as pa
import pytest

from picked_figure import by_block
from prunescope.report import figure_files, pickers, print_style


@pytest.mark.parametrize("inches", print_style.INCHES.values())
def test_a_picture_has_its_width(inches):
    """The width that is written, and what is drawn fills it without being shrunk."""
    drawn = print_style.svg(by_block(), inches)
    assert f'width="{inches}in"' in drawn
    (width,) = re.findall(r'viewBox="0 0 ([\d.]+) ', drawn)
    assert inches * 96 * 0.9 < float(width) <= inches * 96 * 1.02


def test_a_picture_shows_what_the_page_first_shows():
    """T = 1 and every block; the rows of other temperatures are left out."""
    shown = pickers.first_shown(by_block())
    (rows,) = shown["datasets"].values()
    assert {row["temperature"] for row in rows} == {1.0}
    assert {row["block"] for row in rows} == set(range(8))


def test_a_column_of_one_value_has_no_picker():
    rows = pa.table({"block": [3, 3, None]})
    assert pickers.picker(rows, "block", "Block") is None


def test_the_files_of_a_figure_hold_pictures_rows_and_query(tmp_path):
    figure = by_block()
    figure["usermeta"]["query"] = "SELECT 1;"
    folder = tmp_path / "figure"
    figure_files.write(folder, figure, pa.table({"a": [1, 2]}))
    assert sorted(path.name for path in folder.iterdir()) == [
        *("data.csv", "one-column.png", "one-column.svg"),
        *("query.sql", "two-columns.png", "two-columns.svg"),
    ]
    assert (folder / "data.csv").read_text().split() == ['"a"', "1", "2"]
    width = int.from_bytes((folder / "one-column.png").read_bytes()[16:20])
    assert width == pytest.approx(3.5 * 300, rel=0.05)
