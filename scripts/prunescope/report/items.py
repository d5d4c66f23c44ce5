"""Items of tasks that a variant answers better or worse than dense, for results/items.html."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from prunescope.paths import REPORTS

QUERY = REPORTS / "items.sql"
"""The query that finds them."""

MOST = 300
"""Largest number of items per model and task. The page says how many further ones there are."""


def by_task(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The items of each model, suite and task, with the answers of dense and of variants.

    Parameters
    ----------
    rows : of `QUERY`, in its order.
    """
    tasks = groupby(rows, key=lambda row: (row["model"], row["suite"], row["task"]))
    return [_task(list(of_task)) for _, of_task in tasks]


def _task(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    items = [_item(list(of_item)) for _, of_item in groupby(rows, key=lambda row: row["place"])]
    first = rows[0]
    return {
        **{key: first[key] for key in ("model", "suite", "task")},
        "asked": first["asked"],
        "left_out": first["changed"] - len(items),
        "items": items,
    }


def _item(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    """One item; `name` is the task within a group, if there is one."""
    first = rows[0]
    return {
        "name": "" if first["subtask"] == first["task"] else first["subtask"],
        **{key: first[key] for key in ("item", "context", "options", "target")},
        "dense": {"response": first["dense_response"], "outcome": first["dense_outcome"]},
        "variants": {
            row["variant"]: {key: row[key] for key in ("response", "outcome")} for row in rows
        },
    }
