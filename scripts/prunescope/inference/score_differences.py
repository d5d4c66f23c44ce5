"""How far a variant's scores differ from dense's, with intervals over items.

Dense and variant answer the same items, so they are compared item by item. Scores are also read as
shares of what dense scores above chance: a model that guesses keeps nothing, though a quarter of
its answers to four options are right.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from prunescope.inference import resampling
from prunescope.inference.paired_tasks import Floats, PairedTask
from prunescope.inference.resampling import Places
from prunescope.tables.schemas import TABLES

CONTRASTS = (
    ("non_generative", "generative"),
    ("retrieval", "generation"),
    ("multiple_choice", "generation"),
)
"""Families whose shares are contrasted, the first minus the second: of tasks, and of formats."""

RIGHT = 0.5
"""Least outcome of an item that counts as right."""


def differences(table: str, tasks: Sequence[PairedTask], seed: int) -> pa.Table:
    """Rows of a table of differences: every task, every family, and contrasts of families.

    Parameters
    ----------
    table : score_difference, retrieval_difference or format_difference.
    tasks : of one variant.
    seed : of the resampling.
    """
    families: dict[str, list[PairedTask]] = {}
    for task in tasks:
        if task.is_headline:
            families.setdefault(task.family, []).append(task)
    rows = [_difference("task", task.name, [task], seed) for task in tasks]
    rows += [_difference("family", name, each, seed) for name, each in families.items()]
    rows += [
        _contrast(families[first], families[second], seed)
        for first, second in CONTRASTS
        if {first, second} <= families.keys()
    ]
    return pa.Table.from_pylist(rows, schema=TABLES[table].schema)


def _difference(scope: str, name: str, tasks: Sequence[PairedTask], seed: int) -> dict[str, Any]:
    """One row: the mean over tasks of variant minus dense, and the share of dense above chance."""
    row = {
        "scope": scope,
        "name": name,
        "family": tasks[0].family,
        "metric": _common([task.metric for task in tasks]),
        "n_shot": _common([task.n_shot for task in tasks]),
        **_counts(tasks),
        "dense_score": float(np.mean([task.dense.mean() for task in tasks])),
        "score": float(np.mean([task.variant.mean() for task in tasks])),
        "chance": float(np.mean([task.chance for task in tasks])),
        "difference": float(resampling.gain(tasks, resampling.as_they_are(tasks))),
        "p_value": resampling.sign_flip_p_value(tasks, seed),
        "dense_margin_low": resampling.dense_margin_low(tasks),
        **_flips(tasks),
    }
    ends = {
        "dense_score": resampling.score_interval(tasks, "dense", seed),
        "score": resampling.score_interval(tasks, "variant", seed),
        "difference": resampling.difference_interval(tasks, seed),
    }
    if is_above_chance(row["dense_margin_low"]):
        low, high, _ = resampling.interval(lambda drawn: resampling.kept(tasks, drawn), tasks, seed)
        row["kept"], ends["kept"] = float(_kept_as_is(tasks)), (low, high)
    for column, (low, high) in ends.items():
        row |= {f"{column}_low": low, f"{column}_high": high}
    return row


def is_above_chance(dense_margin_low: float | None) -> bool:
    """Whether dense surely does better than a guess, so that there is something to keep."""
    return dense_margin_low is not None and dense_margin_low > 0


def _common(values: Sequence[Any]) -> Any:
    """The value that all tasks share, or None."""
    return values[0] if len(set(values)) == 1 else None


def _counts(tasks: Sequence[PairedTask]) -> dict[str, int]:
    return {
        "n_tasks": len(tasks),
        "n_items": sum(len(task.dense) for task in tasks),
        "n_cut": sum(task.n_cut for task in tasks),
    }


def _flips(tasks: Sequence[PairedTask]) -> dict[str, Any]:
    """Items that became wrong and right, McNemar's p, and how many answers are those of dense.

    Outcomes between 0 and 1 are right from RIGHT on, and are not tested.
    """
    dense, variant = (
        np.concatenate([getattr(task, side) for task in tasks]) for side in ("dense", "variant")
    )
    to_wrong = int(((dense >= RIGHT) & (variant < RIGHT)).sum())
    to_right = int(((dense < RIGHT) & (variant >= RIGHT)).sum())
    is_tested = len(tasks) == 1 and np.isin([dense, variant], (0, 1)).all()
    agreements = [task.agreement for task in tasks if task.agreement is not None]
    return {
        "to_wrong": to_wrong,
        "to_right": to_right,
        "mcnemar_p": resampling.mcnemar_p_value(to_wrong, to_right) if is_tested else None,
        "agreement": float(np.mean(agreements)) if len(agreements) == len(tasks) else None,
    }


def _kept_as_is(tasks: Sequence[PairedTask]) -> Floats:
    return resampling.kept(tasks, resampling.as_they_are(tasks))


def _contrast(
    first: Sequence[PairedTask], second: Sequence[PairedTask], seed: int
) -> dict[str, Any]:
    """One row: by how much the share that the first family keeps exceeds that of the second."""
    tasks, n_first = [*first, *second], len(first)

    def gap(drawn: Places) -> Floats:
        kept_by_first = resampling.kept(first, drawn[:n_first])
        return kept_by_first - resampling.kept(second, drawn[n_first:])

    row: dict[str, Any] = {
        "scope": "contrast",
        "name": f"{first[0].family} minus {second[0].family}",
        "n_tasks": len(tasks),
        "n_items": min(sum(len(task.dense) for task in each) for each in (first, second)),
        "n_cut": sum(task.n_cut for task in tasks),
    }
    margins = [resampling.dense_margin_low(each) for each in (first, second)]
    known = [margin for margin in margins if margin is not None]
    if len(known) == len(margins):
        row["dense_margin_low"] = min(known)
    if not all(map(is_above_chance, margins)):
        return row
    low, high, resampled = resampling.interval(gap, tasks, seed)
    beyond = min(float(np.mean(resampled <= 0)), float(np.mean(resampled >= 0)))
    return {
        **row,
        "difference": float(_kept_as_is(first) - _kept_as_is(second)),
        "difference_low": low,
        "difference_high": high,
        "p_value": min(1.0, 2 * max(beyond, 1 / (resampling.RESAMPLES + 1))),
    }
