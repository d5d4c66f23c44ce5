"""Drop the attention or MLP sublayers whose removal matters least (He et al. 2026)."""

import pyarrow as pa

from prunescope.compression import ranking, selections
from prunescope.model.edits import Edit


def compress(
    influence: pa.Table | None,
    removal_score: pa.Table | None = None,
    *,
    sublayer: str,
    n_drop: int | str,
    criterion: str = "cosine",
    text: str = "calibration",
    search: str = "one_shot",
) -> tuple[Edit, pa.Table]:
    """Drop sublayers in the order of their influences, or in the order that a search has found.

    Parameters
    ----------
    influence : table `influence`, which is read by default, as published; else None.
    removal_score : table `removal_score` of the selection, if it is another one; else None.
    sublayer : `attn`, `mlp`, or `any`, which ranks both kinds together (joint layer drop).
    n_drop : number of sublayers, or `all`.
    criterion, text, search : see `prunescope.compression.selections`.
    """
    return ranking.drop(
        influence,
        removal_score,
        selections.Selection(criterion, text, search, sublayer),
        n_drop,
        method="sublayer_drop",
    )
