"""Drop the transformer blocks with the least influence (ShortGPT, Men et al. 2025)."""

import pyarrow as pa

from prunescope.compression.ranking import drop_least_influential
from prunescope.model.edits import Edit


def compress(influence: pa.Table, *, n_drop: int | str) -> tuple[Edit, pa.Table]:
    """Drop the blocks with the least influence, all of which is measured on the dense model.

    Parameters
    ----------
    influence : table `influence`.
    n_drop : number of blocks, or `all`.
    """
    return drop_least_influential(influence, ("block",), n_drop, method="block_drop")
