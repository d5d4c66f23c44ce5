"""Choose the sublayers that a variant drops by their influence. This module imports no torch."""

import math
from collections.abc import Sequence

import pyarrow as pa

from prunescope.model.edits import Edit
from prunescope.tables.schemas import TABLES


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
