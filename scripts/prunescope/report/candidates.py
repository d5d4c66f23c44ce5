"""Rows of the store as candidates of an advice."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prunescope.inference.advice import Candidate, Cost, Loss

FAMILIES = {"multiple-choice": "non_generative", "generation": "generative"}
"""Kinds of tasks, and the families that hold them in `score_difference`."""

RETRIEVAL_METRIC = "ndcg_at_10"
"""The metric that stands for retrieval."""

_Row = Mapping[str, Any]


def candidate(
    variant: str,
    differences: Sequence[_Row],
    cost: _Row,
    run: _Row,
    report: Sequence[_Row],
    task: str,
) -> Candidate:
    """A variant with what it loses and costs.

    Parameters
    ----------
    variant : its name.
    differences : its rows of `score_difference` or, for retrieval, of `retrieval_difference`.
    cost, run : its row of `variant_cost` and of `compression_run`.
    report : its rows of `compression_report`.
    task : multiple-choice, generation or retrieval.

    Raises
    ------
    ValueError
        if no tasks of this kind were scored.
    """
    return Candidate(variant, in_words(run, report), _loss(differences, task), _cost(cost))


def _loss(differences: Sequence[_Row], task: str) -> Loss:
    row = _summary(differences, task)
    margin = row["dense_margin_low"]
    return Loss(
        n_items=row["n_items"],
        dense_score=row["dense_score"],
        score=row["score"],
        chance=row["chance"],
        low=row["difference_low"],
        difference=row["difference"],
        high=row["difference_high"],
        dense_margin_low=math.nan if margin is None else margin,
    )


def _summary(differences: Sequence[_Row], task: str) -> _Row:
    """The row of all tasks of this kind together."""
    for scope in ("family", "task"):
        rows = [row for row in differences if row["scope"] == scope and _is_of(row, task)]
        if len(rows) == 1:
            return rows[0]
    raise ValueError(f"no {task} task was scored. Add one to the suite, or ask for another task.")


def _is_of(row: _Row, task: str) -> bool:
    if task == "retrieval":
        return bool(row["metric"] == RETRIEVAL_METRIC)
    return bool(row["name"] == FAMILIES[task] or row.get("family") == FAMILIES[task])


def tasks_in_words(differences: Iterable[_Row], task: str) -> str:
    """Names of the tasks that were scored; without a column that tells, of all in the suite."""
    rows = [
        row
        for row in differences
        if row["scope"] == "task" and ("family" not in row or _is_of(row, task))
    ]
    return ", ".join(row["name"] for row in rows)


def _cost(row: _Row) -> Cost:
    dense_kv = row["kv_cache_bytes_per_token_dense"]
    return Cost(
        memory=row["bytes"] / row["bytes_dense"],
        kv=row["kv_cache_bytes_per_token"] / dense_kv if dense_kv else 1.0,
        speed=row["decode_speedup"],
        speed_low=row["decode_speedup_low"],
        speed_high=row["decode_speedup_high"],
        same_operations=row["same_operations"],
    )


def in_words(run: _Row, report: Iterable[_Row]) -> str:
    """What a variant drops, by number of the block, or else its method and settings."""
    removed: dict[str, list[int]] = {}
    for row in report:
        if row["removed"]:
            removed.setdefault(row["sublayer"], []).append(row["block"])
    if removed:
        names = {"attn": "attention of blocks", "mlp": "MLPs of blocks", "block": "blocks"}
        return "; ".join(
            f"drop {names[kind]} {', '.join(map(str, sorted(blocks)))}"
            for kind, blocks in removed.items()
        )
    settings = json.loads(run["settings"])
    others = [f"{name} {value}" for name, value in settings.items() if name != "method"]
    return ", ".join([run["method"], *others])
