"""Drop the transformer blocks whose removal matters least (ShortGPT, Men et al. 2025)."""

import pyarrow as pa

from prunescope.compression import ranking, selections
from prunescope.model.edits import Edit


def compress(
    influence: pa.Table | None,
    removal_score: pa.Table | None = None,
    *,
    n_drop: int | str,
    criterion: str = "cosine",
    text: str = "calibration",
    search: str = "one_shot",
) -> tuple[Edit, pa.Table]:
    """Drop blocks in the order of their influences, or in the order that a search has found.

    Parameters
    ----------
    influence : table `influence`, which is read by default, as published; else None.
    removal_score : table `removal_score` of the selection, if it is another one; else None.
    n_drop : number of blocks, or `all`.
    criterion, text, search : see `prunescope.compression.selections`.
    """
    return ranking.drop(
        influence,
        removal_score,
        selections.Selection(criterion, text, search, "block"),
        n_drop,
        method="block_drop",
    )
