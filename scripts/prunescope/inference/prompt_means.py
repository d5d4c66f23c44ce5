"""Means over prompts with intervals: prompts are the sample, and steps of a prompt are one unit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from prunescope.inference import evidence
from prunescope.tables.schemas import TABLES

Rows = Sequence[Mapping[str, Any]]


def effects(of_prompts: Rows) -> pa.Table:
    """Rows of table `history_effect`.

    Parameters
    ----------
    of_prompts : one row per (sampling_temperature, term, history, prompt) with the means over the
        steps of the prompt: `share`, `norm` and `kl`.
    """
    grouped: dict[tuple[float, str, str], list[Mapping[str, Any]]] = {}
    for row in of_prompts:
        key = (row["sampling_temperature"], row["term"], row["history"])
        grouped.setdefault(key, []).append(row)
    rows = [
        {
            **dict(zip(("sampling_temperature", "term", "history"), key, strict=True)),
            "n_prompts": len(each),
            "norm": float(np.mean([row["norm"] for row in each])),
            **_mean("share", [row["share"] for row in each]),
            **_mean("kl", [row["kl"] for row in each]),
        }
        for key, each in sorted(grouped.items())
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["history_effect"].schema)


def _mean(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """The mean and both ends of its interval, which one prompt does not have."""
    found = evidence.mean(np.array(values, float), 0.0) if len(values) > 1 else None
    ends = (found.low, found.high) if found else (math.nan, math.nan)
    low, high = (float(end) if math.isfinite(end) else None for end in ends)
    return {name: float(np.mean(values)), f"{name}_low": low, f"{name}_high": high}
