"""The sublayer trace: the effect of editing one sublayer at a time, in all three spaces.

The context is always the dense model's. If a sublayer is dropped, the state after it equals the
dense state before it. Neighbouring sublayers therefore share states, and with them matrix products
and softmaxes. Logits are computed in chunks of rows, within a memory budget.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from prunescope.measures import comparisons
from prunescope.measures.comparisons import PAIRS_TOGETHER, PairStatistics, Slab
from prunescope.model.anatomy import Sublayer
from prunescope.model.unembedding import Unembedding


@dataclass(frozen=True)
class TraceSettings:
    """Settings of a sublayer trace.

    Attributes
    ----------
    temperatures : the values of T in softmax(z/T).
    final_norm : whether the final norm is applied to intermediate states before lm_head.
    steps : largest number of steps per answer.
    memory_mb : memory for logits, in MiB.
    """

    temperatures: Sequence[float]
    final_norm: bool
    steps: int
    memory_mb: float


@dataclass(frozen=True)
class Product:
    """The states of one position that a single product with lm_head reads, and their slabs.

    Attributes
    ----------
    sources : (boundary, False) for a dense state and (sublayer, True) for an edited one.
    slabs : the pairs of rows to compare.
    """

    sources: tuple[tuple[int, bool], ...]
    slabs: tuple[Slab, ...]


def plan(dropped: Sequence[int], replaced: Sequence[int], max_rows: int) -> list[Product]:
    """Divide the states of one position into products of at most `max_rows` rows.

    Neighbouring dropped sublayers share boundaries: k of them need k + 1 rows. A replaced sublayer
    needs two rows: the state after it with dense tensors, and with replaced ones.

    Parameters
    ----------
    dropped, replaced : numbers of the sublayers, ascending.
    max_rows : largest number of rows of a product.
    """
    column_of = {sublayer: place for place, sublayer in enumerate(traced(replaced, dropped))}
    products: list[Product] = []
    sources: list[tuple[int, bool]] = []
    slabs: list[Slab] = []

    def close() -> None:
        if slabs:
            products.append(Product(tuple(sources), tuple(slabs)))
        sources.clear()
        slabs.clear()

    def place(rows: list[tuple[int, bool]], group: Sequence[int], neighbours: bool) -> None:
        shares = neighbours and sources[-1:] == rows[:1]
        if len(sources) + len(rows) - shares > max_rows:
            close()
            shares = False
        start = len(sources) - shares
        sources.extend(rows[shares:])
        sides = (
            (slice(1, None), slice(None, -1))
            if neighbours
            else (slice(0, None, 2), slice(1, None, 2))
        )
        columns = tuple(column_of[sublayer] for sublayer in group)
        slabs.append(Slab(columns, slice(start, start + len(rows)), *sides))

    for _, members in groupby(enumerate(dropped), key=lambda item: item[1] - item[0]):
        neighbours_in_depth = [sublayer for _, sublayer in members]
        for group in _cut(neighbours_in_depth, min(PAIRS_TOGETHER, max_rows - 1)):
            place([(b, False) for b in (*group, group[-1] + 1)], group, neighbours=True)
    for group in _cut(replaced, min(PAIRS_TOGETHER, max_rows // 2)):
        place([row for s in group for row in ((s + 1, False), (s, True))], group, neighbours=False)
    close()
    return products


def _cut(items: Sequence[int], size: int) -> list[Sequence[int]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


@torch.inference_mode()
def statistics(
    dense: Tensor,
    variant: Mapping[int, Tensor],
    dropped: Sequence[int],
    unembed: Unembedding,
    temperatures: Sequence[float],
    memory_mb: float,
) -> PairStatistics:
    """Every statistic of `sublayer_trace` and `logit_shift` for one prompt.

    Parameters
    ----------
    dense : (steps, boundaries, d), from `capture.residuals`.
    variant : replaced sublayer -> (steps, d), from `capture.residuals`.
    dropped : numbers of the dropped sublayers, ascending; the state after one of them is the
        boundary before it.
    unembed : the map from states between sublayers to logits.
    temperatures : the values of T in softmax(z/T).
    memory_mb : memory for logits, in MiB.

    Returns
    -------
    Statistics of pairs (steps, sublayers), with sublayers as in `traced(variant, dropped)`.
    """
    sublayers = traced(variant, dropped)
    steps = dense.shape[0]
    max_rows = comparisons.rows_within(memory_mb, unembed.vocabulary)
    compared = PairStatistics(steps, len(sublayers), temperatures, dense.device)
    compared.put_states(
        torch.stack([dense[:, s + 1] for s in sublayers], 1),
        torch.stack([variant.get(s, dense[:, s]) for s in sublayers], 1),
    )

    buffer = torch.empty(max_rows, unembed.vocabulary, dtype=unembed.dtype, device=dense.device)
    for product in plan(dropped, sorted(variant), max_rows):
        width = len(product.sources)
        chunk_size = max(1, max_rows // width)
        for start in range(0, steps, chunk_size):
            chunk = slice(start, min(start + chunk_size, steps))
            h = torch.stack(
                [variant[i][chunk] if edited else dense[chunk, i] for i, edited in product.sources],
                1,
            )
            z = unembed(h.flatten(0, 1), buffer[: h.shape[0] * width]).unflatten(0, (-1, width))
            for slab in product.slabs:
                compared.put_logits(chunk, z, slab)
    return compared


def traced(variant: Iterable[int], dropped: Sequence[int]) -> list[int]:
    """Numbers of the sublayers that a trace compares (see `anatomy.Sublayer`), ascending."""
    return sorted({*dropped, *variant})


def tables_of(
    prompt: str, sublayers: Sequence[int], compared: PairStatistics
) -> tuple[pa.Table, pa.Table]:
    """The statistics of one prompt as rows of `sublayer_trace` and of `logit_shift`.

    Parameters
    ----------
    prompt : id of the prompt.
    sublayers : numbers of the compared sublayers, ascending.
    compared : result of `statistics`.
    """
    key = _key(prompt, compared.shape[0], sublayers)
    return compared.as_tables("sublayer_trace", "logit_shift", key)


def _key(prompt: str, steps: int, sublayers: Sequence[int]) -> dict[str, pa.Array]:
    compared = [Sublayer.from_index(index) for index in sublayers] * steps
    return {
        "prompt": pa.repeat(prompt, len(compared)),
        "step": pa.array(np.repeat(np.arange(steps), len(sublayers)), pa.int32()),
        "block": pa.array([each.block for each in compared], pa.int32()),
        "sublayer": pa.array([each.kind for each in compared], pa.string()),
    }
