"""A figure with pickers: a line over steps for each of eight blocks, at two temperatures."""

import json
from typing import Any

import pyarrow as pa

from prunescope.report import charts

DOC = """Figure 99. A title.

A caption.
"""


def by_block() -> dict[str, Any]:
    """A figure of eight blocks and two temperatures, as `draw_figure` writes it."""
    rows = pa.Table.from_pylist(
        [
            {
                "model": "tiny",
                "temperature": temperature,
                "block": block,
                "step": step,
                "measured": temperature * (1 + block),
                "prompts": 2,
            }
            for temperature in (0.5, 1.0)
            for block in range(8)
            for step in range(3)
        ]
    )
    lines = {"measured": charts.Line("measured", charts.BLUE)}
    figure = charts.lines_by_block(rows, charts.Value("y"), lines, DOC).to_dict(validate=False)
    as_stored: dict[str, Any] = json.loads(json.dumps(figure))
    return as_stored
