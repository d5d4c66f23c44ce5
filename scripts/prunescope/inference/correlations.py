"""How well numbers that need no labels order variants by the score that they lose."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from prunescope.inference import evidence
from prunescope.tables.schemas import TABLES


def of_losses(pairs: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of table `loss_correlation`.

    Parameters
    ----------
    pairs : one row per (predictor, family, variant): the value of the predictor, `size`, and the
        share of dense's score above chance that is `lost`, or None if dense may guess.
    """
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for pair in pairs:
        grouped.setdefault((pair["predictor"], pair["family"]), []).append(pair)
    rows = []
    for (predictor, family), each in sorted(grouped.items()):
        known = [pair for pair in each if pair["lost"] is not None]
        units = [{"measured": pair["size"], "beside": pair["lost"]} for pair in known]
        found = evidence.of_units("rank_correlation", units, 0.0)
        row = {"predictor": predictor, "family": family, "n_variants": len(known)}
        if found is not None and math.isfinite(found.value):
            ends = {"low": found.low, "high": found.high}
            row |= {name: end for name, end in ends.items() if math.isfinite(end)}
            row |= {"correlation": found.value, "p_value": found.p_value}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=TABLES["loss_correlation"].schema)
