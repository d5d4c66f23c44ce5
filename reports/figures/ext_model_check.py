"""Checks of the model before it ran, and its noise floor.

The first rows compare what prunescope reads of the model with what transformers computes, in
float32: the largest relative difference at any position, and the largest that is accepted. A model
that fails a check is not run. The rows after them are the noise floor: the same text is computed in
two ways that differ only in rounding, in the number type in which the model runs. They show the
largest angular deviation (1 − cos) and KL divergence at any position, for the model's output and
for the states after its sublayers, by both readouts. Findings count a deviation as zero if it is
below the mean of these at the place where it is measured.
"""

from collections.abc import Iterator

import pyarrow as pa

from prunescope.report import charts
from prunescope.report.text_tables import Cell, Table, cell

HEAD = ("comparison", "measured", "accepted", "KL (nats)", "likeliest token differs")


def draw(rows: pa.Table) -> Table:
    """The checks of each model, then its noise floor."""
    return Table(HEAD, list(_rows(rows)))


def _rows(rows: pa.Table) -> Iterator[list[Cell]]:
    heading = None
    for row in rows.to_pylist():
        model_and_part = (row["model"], row["part"])
        if model_and_part != heading:
            heading = model_and_part
            part = "checks" if row["part"] == "check" else "noise floor"
            yield [cell(f"{row['model']}: {part}", "strong")]
        yield _check(row) if row["part"] == "check" else _noise(row)


def _check(row: dict[str, object]) -> list[Cell]:
    return [
        cell(row["what"]),
        cell(f"{row['measured']:.2g}"),
        cell(f"{row['tolerance']:.2g}"),
        cell(""),
        cell(""),
    ]


def _noise(row: dict[str, object]) -> list[Cell]:
    kl, flips = row["kl_divergence"], row["n_disagreements"]
    return [
        cell(f"{row['what']} ({charts.SPACE_NAMES[str(row['space'])]})"),
        cell(f"{row['measured']:.2g}"),
        cell(""),
        cell("" if kl is None else f"{kl:.2g}"),
        cell("" if flips is None or kl is None else f"{flips} of {row['n_positions']}"),
    ]
