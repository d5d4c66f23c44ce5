"""From influences to the sublayers a variant drops: a lookup that imports no torch."""

import math
from collections.abc import Sequence

import pyarrow as pa

from prunescope.model.edits import Edit
from prunescope.tables.schemas import TABLES


def drop_least_influential(
    influence: pa.Table, kinds: Sequence[str], n_drop: int | str, method: str
) -> tuple[Edit, pa.Table]:
    """The edit that drops the `n_drop` least influential of `kinds`, and its report.

    Ties go to the earlier block. Raises ValueError if fewer than `n_drop` exist, or if an influence
    is not a number.
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
