"""How far each kind of compression goes, by family of tasks.

Each cell is an amount of compression with the change of the mean score, in points of 100, and its
95 % interval over items, which dense and the variant answer alike. An amount is lost where the
whole interval lies below the accepted loss, and kept where none of it does. It is undecided where
the interval holds the accepted loss, or where there are fewer than 30 items: more would tell.
Nothing is tested where dense itself may be guessing. Intervals are of single variants, not
corrected for their number.
"""

from collections.abc import Iterator

import pyarrow as pa

from prunescope.report.text_tables import Cell, Table, cell

FAMILIES = {"non_generative": "Multiple-choice tasks", "generative": "Generation tasks"}

SHOWN = ("kept", "undecided", "lost", "not tested")
"""What an interval can show, as in the query, in the order of the columns."""


def draw(rows: pa.Table) -> Table:
    """A row per kind of compression under each family; what is kept on the left."""
    return Table(("compression", *SHOWN), list(_rows(rows)))


def _rows(rows: pa.Table) -> Iterator[list[Cell]]:
    by_family: dict[tuple[str, str], dict[str, list[dict[str, object]]]] = {}
    for row in rows.to_pylist():
        kinds = by_family.setdefault((row["model"], row["task_family"]), {})
        kinds.setdefault(row["kind"], []).append(row)
    for (model, family), kinds in by_family.items():
        yield [cell(f"{model}: {FAMILIES[family]}", "strong")]
        for kind, amounts in kinds.items():
            yield [cell(kind), *(cell(_amounts(amounts, shown)) for shown in SHOWN)]


def _amounts(rows: list[dict[str, object]], shown: str) -> str:
    """The amounts that show this, each with its change of score in points and the interval."""
    return "; ".join(
        "{} ({:+.0f}, {:+.0f} to {:+.0f})".format(
            row["amount"],
            *(100 * float(str(row[name])) for name in ("difference", *_INTERVAL)),
        )
        for row in rows
        if row["shown"] == shown
    )


_INTERVAL = ("difference_low", "difference_high")
