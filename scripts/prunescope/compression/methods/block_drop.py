"""Drop whole transformer blocks, the least influential first (ShortGPT, Men et al. 2025)."""

import pyarrow as pa

from prunescope.compression.ranking import drop_least_influential
from prunescope.model.edits import Edit


def compress(influence: pa.Table, *, n_drop: int | str) -> tuple[Edit, pa.Table]:
    """Drop the `n_drop` blocks of least block influence at once, or `all`.

    Parameters
    ----------
    influence : table `influence`.
    """
    return drop_least_influential(influence, ("block",), n_drop, method="block_drop")
