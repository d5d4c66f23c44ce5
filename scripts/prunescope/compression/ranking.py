"""Choose the sublayers that a variant drops by their scores. This module imports no torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from prunescope.compression.selections import PUBLISHED, Selection
from prunescope.model.edits import Edit
from prunescope.tables.schemas import TABLES


def drop(
    influence: pa.Table | None,
    removal_score: pa.Table | None,
    selection: Selection,
    n_drop: int | str,
    method: str,
) -> tuple[Edit, pa.Table]:
    """Drop the first `n_drop` parts by the table that belongs to the selection.

    Raises ValueError if that table is missing, and as the two functions below do.
    """
    if selection[:3] == PUBLISHED:
        if influence is None:
            raise ValueError("influences are missing, by which the published methods choose.")
        return drop_least_influential(influence, selection.kinds, n_drop, method)
    if removal_score is None:
        raise ValueError(f"table removal_score of {selection.name} is missing.")
    return drop_as_searched(removal_score, selection.kinds, n_drop, method)


def drop_least_influential(
    influence: pa.Table, kinds: Sequence[str], n_drop: int | str, method: str
) -> tuple[Edit, pa.Table]:
    """Drop the sublayers or blocks with the least influence.

    Of two with equal influence, the one in the earlier block is dropped first.

    Parameters
    ----------
    influence : table `influence`.
    kinds : what is ranked together: `attn`, `mlp` or `block`.
    n_drop : how many are dropped, or `all`.
    method : name of the method, a column of the report.

    Returns
    -------
    The edit, and its rows of `compression_report`.

    Raises
    ------
    ValueError
        if there are fewer than `n_drop`, or if an influence is not finite.
    """
    for row in influence.to_pylist():
        if not math.isfinite(row["influence"]):
            raise ValueError(
                f"influence of {row['sublayer']} {row['block']} is {row['influence']}: nothing can "
                "be ranked by it. Run score_influences again, in float32 or bfloat16."
            )
    ranked = sorted(
        (row for row in influence.to_pylist() if row["sublayer"] in kinds),
        key=lambda row: (row["influence"], row["block"], row["sublayer"]),
    )
    return _dropped_first(ranked, kinds, n_drop, method)


def drop_as_searched(
    removal_score: pa.Table, kinds: Sequence[str], n_drop: int | str, method: str
) -> tuple[Edit, pa.Table]:
    """Drop the sublayers or blocks that a search has found, the one chosen first before the others.

    Those that the search did not choose follow in the order of their scores in its last round. A
    search in one shot chooses none, so that the parts are ranked by their only score.

    Parameters
    ----------
    removal_score : table `removal_score`.
    kinds, n_drop, method : as in `drop_least_influential`. Column `influence` of the report is the
        score in the round in which the part was chosen, or else in the last one.

    Returns
    -------
    The edit, and its rows of `compression_report`.

    Raises
    ------
    ValueError
        if there are fewer than `n_drop`, or the search chose fewer.
    """
    rows = removal_score.to_pylist()
    chosen = [row for row in rows if row["is_chosen"]]
    last = max((row["n_dropped"] for row in rows), default=0)
    rest = [row for row in rows if row["n_dropped"] == last and not row["is_chosen"]]
    count = len(chosen) + len(rest) if n_drop == "all" else int(n_drop)
    if chosen and len(chosen) < count <= len(chosen) + len(rest):
        raise ValueError(
            f"n_drop is {count}, but the search chose only {len(chosen)}. Run score_removals again."
        )
    chosen.sort(key=lambda row: row["n_dropped"])
    rest.sort(key=lambda row: (row["is_bound"], row["score"], row["block"], row["sublayer"]))
    ranked = [{**row, "influence": row["score"]} for row in (*chosen, *rest)]
    return _dropped_first(ranked, kinds, n_drop, method)


def _dropped_first(
    ranked: Sequence[Mapping[str, Any]], kinds: Sequence[str], n_drop: int | str, method: str
) -> tuple[Edit, pa.Table]:
    """Drop the first `n_drop` of these rows; results and errors as in `drop_least_influential`."""
    count = len(ranked) if n_drop == "all" else int(n_drop)
    if count > len(ranked):
        raise ValueError(
            f"n_drop is {count}, but the model has only {len(ranked)} of {'/'.join(kinds)}. "
            "Choose a smaller n_drop in config."
        )
    dropped = {
        kind: tuple(sorted(row["block"] for row in ranked[:count] if row["sublayer"] == kind))
        for kind in kinds
    }
    report = [
        {
            "method": method,
            "block": row["block"],
            "sublayer": row["sublayer"],
            "influence": row["influence"],
            "rank": rank,
            "removed": rank < count,
            "n_drop": count,
        }
        for rank, row in enumerate(ranked)
    ]
    schema = TABLES["compression_report"].schema
    return Edit(dropped), pa.Table.from_pylist(report, schema=schema)
