"""How far each kind of compression goes, by family of tasks.

Amounts stand from mild to strong, each with what its items show, the change of the mean score in
points of 100, and its 95 % interval over items, which dense and the variant answer alike. An amount
is lost where the whole interval lies below the accepted loss, and kept where none of it does. It is
undecided where the interval holds the accepted loss, or where there are fewer than 30 items: more
would tell. Nothing is tested where dense itself may be guessing. Intervals are of single variants,
not corrected for their number.
"""

from collections.abc import Iterator

import pyarrow as pa

from prunescope.report.text_tables import Cell, Part, Table, cell

FAMILIES = {"non_generative": "Multiple-choice tasks", "generative": "Generation tasks"}


def draw(rows: pa.Table) -> Table:
    """A row per kind of compression under each family, its amounts from mild to strong."""
    return Table(("compression", "what each amount shows"), list(_rows(rows)))


def _rows(rows: pa.Table) -> Iterator[list[Cell]]:
    by_family: dict[tuple[str, str], dict[str, list[dict[str, object]]]] = {}
    for row in rows.to_pylist():
        kinds = by_family.setdefault((row["model"], row["task_family"]), {})
        kinds.setdefault(row["kind"], []).append(row)
    for (model, family), kinds in by_family.items():
        first = next(iter(kinds.values()))[0]
        untested = {row["shown"] for amounts in kinds.values() for row in amounts} == {"not tested"}
        why = (
            f": not tested, since dense scores {first['dense_score']:.2f} over {first['n_items']} "
            f"items and a guess {first['chance']:.2f}: it may itself be guessing"
        )
        yield [cell(f"{model}: {FAMILIES[family]}{why if untested else ''}", "strong")]
        if not untested:
            for kind, amounts in kinds.items():
                parts = [_amount(row, row is amounts[-1]) for row in amounts]
                yield [cell(kind), [part for some in parts for part in some]]


def _amount(row: dict[str, object], is_last: bool) -> list[Part]:
    """An amount with what it shows, and the change of score in points with its interval."""
    change, low, high = (
        "0" if points == 0 else f"{points:+}".replace("-", "−")
        for points in (
            round(100 * float(str(row[name])))
            for name in ("difference", "difference_low", "difference_high")
        )
    )
    shown = str(row["shown"])
    return [
        Part(f"{row['amount']}: "),
        Part(shown, shown.replace(" ", "-")),
        Part(f" {change} ({low} to {high}){'' if is_last else ';  '}", "equal"),
    ]
