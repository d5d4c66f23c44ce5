"""The files of one figure to take away: pictures for a paper, its rows and its query."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from prunescope.report import print_style


def write(folder: Path, figure: Mapping[str, Any], rows: pa.Table) -> None:
    """Write the files of a figure into a folder, which may exist but be empty.

    Parameters
    ----------
    folder : the folder.
    figure : as `draw_figure` writes it; a table of texts has no picture.
    rows : the rows of its query.
    """
    folder.mkdir(exist_ok=True)
    if "table" not in figure:
        for width, inches in print_style.INCHES.items():
            drawn = print_style.svg(figure, inches)
            (folder / f"{width}.svg").write_text(drawn, encoding="utf-8")
            (folder / f"{width}.png").write_bytes(print_style.png(drawn))
    pyarrow.csv.write_csv(rows, folder / "data.csv")
    (folder / "query.sql").write_text(figure["usermeta"]["query"], encoding="utf-8")
