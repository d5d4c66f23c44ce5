"""The sublayer trace: one sublayer edited at a time on the dense model's context, three spaces.

Logits are taken in row chunks within a memory budget. Rows that are neighbours in depth share
their products and softmaxes: a dropped sublayer's variant is the dense state it reads.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from prunescope.measures import comparisons
from prunescope.measures.comparisons import PAIRS_TOGETHER, Columns, Slab
from prunescope.model.anatomy import Sublayer
from prunescope.model.unembedding import Unembedding


@dataclass(frozen=True)
class Settings:
    """How a variant's sublayers are traced.

    Attributes
    ----------
    temperatures : T of softmax(z/T).
    final_norm : whether intermediate states pass the final norm before lm_head.
    steps : of each answer, at most.
    memory_mb : memory for logits, in MiB.
    """

    temperatures: Sequence[float]
    final_norm: bool
    steps: int
    memory_mb: float


@dataclass(frozen=True)
class Product:
    """Rows that one lm_head product takes of a position, and the slabs it serves.

    `sources` holds (boundary, False) for a dense state and (sublayer, True) for an edited one.
    """

    sources: tuple[tuple[int, bool], ...]
    slabs: tuple[Slab, ...]


def plan(dropped: Sequence[int], replaced: Sequence[int], max_rows: int) -> list[Product]:
    """Lay the pairs of one position out in products of at most `max_rows` rows.

    Neighbouring dropped sublayers share boundaries: k of them take k + 1 rows. A replaced
    sublayer takes two rows, its dense output and its edited one.
    """
    order = {sublayer: place for place, sublayer in enumerate(traced(replaced, dropped))}
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
        columns = tuple(order[sublayer] for sublayer in group)
        slabs.append(Slab(columns, slice(start, start + len(rows)), *sides))

    for _, numbered in groupby(enumerate(dropped), key=lambda item: item[1] - item[0]):
        run = [sublayer for _, sublayer in numbered]
        for group in _cut(run, min(PAIRS_TOGETHER, max_rows - 1)):
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
) -> Columns:
    """Every statistic of `sublayer_trace` and `logit_shift` for one prompt.

    Parameters
    ----------
    dense : (steps, boundaries, d), from `capture.residuals`.
    variant : replaced sublayer -> (steps, d), from `capture.residuals`.
    dropped : the sublayers whose variant is the boundary they read, ascending.
    unembed : the readout of states between sublayers.
    temperatures : T of softmax(z/T). memory_mb : memory for logits, in MiB.

    Returns
    -------
    columns of pairs (steps, sublayers); sublayers as in `traced(variant, dropped)`.
    """
    sublayers = traced(variant, dropped)
    steps = dense.shape[0]
    max_rows = comparisons.rows_within(memory_mb, unembed.vocabulary)
    found = Columns(steps, len(sublayers), temperatures, dense.device)
    found.put_states(
        torch.stack([dense[:, s + 1] for s in sublayers], 1),
        torch.stack([variant.get(s, dense[:, s]) for s in sublayers], 1),
    )

    buffer = torch.empty(max_rows, unembed.vocabulary, dtype=unembed.dtype, device=dense.device)
    for product in plan(dropped, sorted(variant), max_rows):
        width = len(product.sources)
        at_once = max(1, max_rows // width)
        for start in range(0, steps, at_once):
            here = slice(start, min(start + at_once, steps))
            h = torch.stack(
                [variant[i][here] if edited else dense[here, i] for i, edited in product.sources], 1
            )
            z = unembed(h.flatten(0, 1), buffer[: h.shape[0] * width]).unflatten(0, (-1, width))
            for slab in product.slabs:
                found.put_logits(here, z, slab)
    return found


def traced(variant: Iterable[int], dropped: Sequence[int]) -> list[int]:
    """Numbers of the sublayers a trace compares (`anatomy.Sublayer`), ascending."""
    return sorted({*dropped, *variant})


def rows_of(prompt: str, sublayers: Sequence[int], found: Columns) -> tuple[pa.Table, pa.Table]:
    """The statistics of one prompt as rows of `sublayer_trace` and of `logit_shift`.

    Parameters
    ----------
    prompt : its name. sublayers : those compared, ascending. found : from `statistics`.
    """
    key = _key(prompt, found.shape[0], sublayers)
    return found.as_tables("sublayer_trace", "logit_shift", key)


def _key(prompt: str, steps: int, sublayers: Sequence[int]) -> dict[str, pa.Array]:
    compared = [Sublayer.from_index(index) for index in sublayers] * steps
    return {
        "prompt": pa.repeat(prompt, len(compared)),
        "step": pa.array(np.repeat(np.arange(steps), len(sublayers)), pa.int32()),
        "block": pa.array([each.block for each in compared], pa.int32()),
        "sublayer": pa.array([each.kind for each in compared], pa.string()),
    }
