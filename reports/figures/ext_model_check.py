"""What was checked of the model before it ran, and how far it is from itself.

The first rows compare what prunescope reads of the model with what transformers itself computes, in
float32: the largest relative difference of any position, beside the largest that is accepted. A
model that fails one of them is not run. The rows below are the noise floor: the same text computed
in two ways that differ only in rounding, in the number type the model is run in, as the largest
angular deviation (1 − cos) and KL divergence of any position: of the model's output, and of the
states that its sublayers write, read by both readouts. Findings take deviations below the mean of
these, at the place where they are measured, for none.
"""

from collections.abc import Iterator

import pyarrow as pa

from prunescope.report.text_tables import Cell, Table, cell

HEAD = ("compared", "measured", "at most", "KL (nats)", "other likeliest token")


def draw(rows: pa.Table) -> Table:
    """The checks of each model, then its noise floor."""
    return Table(HEAD, list(_rows(rows)))


def _rows(rows: pa.Table) -> Iterator[list[Cell]]:
    heading = None
    for row in rows.to_pylist():
        here = (row["model"], row["part"])
        if here != heading:
            heading = here
            what = "checks" if row["part"] == "check" else "noise floor"
            yield [cell(f"{row['model']}: {what}", "strong")]
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
        cell(f"{row['what']} ({row['space']})"),
        cell(f"{row['measured']:.2g}"),
        cell(""),
        cell("" if kl is None else f"{kl:.2g}"),
        cell("" if flips is None or kl is None else f"{flips} of {row['n_positions']}"),
    ]
