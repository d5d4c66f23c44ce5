"""Drop the attention or MLP sublayers with the least influence (He et al. 2026)."""

import pyarrow as pa

from prunescope.compression.ranking import drop_least_influential
from prunescope.model.edits import Edit


def compress(influence: pa.Table, *, sublayer: str, n_drop: int | str) -> tuple[Edit, pa.Table]:
    """Drop the sublayers with the least influence, all of which is measured on the dense model.

    Parameters
    ----------
    influence : table `influence`.
    sublayer : `attn`, `mlp`, or `any`, which ranks both kinds together (joint layer drop).
    n_drop : number of sublayers, or `all`.
    """
    kinds = ("attn", "mlp") if sublayer == "any" else (sublayer,)
    return drop_least_influential(influence, kinds, n_drop, method="sublayer_drop")
