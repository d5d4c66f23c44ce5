"""Figures for a paper are as wide as asked, and show what the page first shows."""

import re
from xml.etree import ElementTree

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


@pytest.mark.parametrize("code", [*range(32), 0x7F, 0xFFFE, 0xFFFF, 0xD800, 0x1F600])
def test_any_character_may_be_a_label(code):
    """Tokens of a model are labels; those that no SVG can hold are replaced."""
    rows = [{"token": f"a{chr(code)}", "count": 1}, {"token": "b", "count": 2}]
    figure = {
        "datasets": {"rows": rows},
        "data": {"name": "rows"},
        "mark": "bar",
        "usermeta": {},
        "width": 100,
        "encoding": {"x": {"field": "count", "type": "quantitative"}, "y": {"field": "token"}},
    }
    figure["encoding"]["y"]["type"] = "nominal"
    drawn = print_style.svg(figure, 3.5)
    ElementTree.fromstring(drawn)
    assert print_style.png(drawn).startswith(b"\x89PNG")


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
