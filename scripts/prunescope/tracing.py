"""The sublayer trace: one sublayer edited at a time on the dense model's context, three spaces.

Logits are taken in row chunks within a memory budget. Rows that are neighbours in depth share
their products and softmaxes: a dropped sublayer's variant is the dense state it reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from prunescope import metrics
from prunescope.anatomy import SUBLAYERS
from prunescope.schemas import TABLES
from prunescope.spaces import Unembedding, probabilities

PRODUCT_ROWS = 512
"""Rows of one lm_head product: enough to reach the GEMM peak, few enough to stay in cache."""

PAIRS_TOGETHER = 6
"""Pairs whose statistics are taken together: temporaries of about 1 MB that stay in cache."""

WORKSPACE = 9
"""Vocabulary-sized temporaries a pair needs at most while its statistics are taken."""


@dataclass(frozen=True)
class Slab:
    """Pairs (dense, variant) that lie side by side among the rows of one product."""

    sublayers: tuple[int, ...]
    rows: slice
    dense: slice
    variant: slice


@dataclass(frozen=True)
class Product:
    """Rows that one lm_head product takes of a position, and the slabs it serves.

    `sources` holds (boundary, False) for a dense state and (sublayer, True) for an edited one.
    """

    sources: tuple[tuple[int, bool], ...]
    slabs: tuple[Slab, ...]


def rows_within(memory_mb: float, vocabulary: int) -> int:
    """Rows of logits that fit the budget beside the workspace of the statistics.

    Raises ValueError where not even one pair fits.
    """
    row_bytes = 8 * vocabulary  # float64 for the rows that float32 cannot sum
    rows = int(memory_mb * 2**20 / row_bytes) - WORKSPACE * PAIRS_TOGETHER // 2
    least = 2
    if rows < least:
        needed = row_bytes * (least + WORKSPACE * PAIRS_TOGETHER // 2 + 1) / 2**20
        raise ValueError(
            f"tracing.memory_mb is {memory_mb}, but a vocabulary of {vocabulary} tokens needs "
            f"{needed:.0f}. Raise it in config."
        )
    return min(PRODUCT_ROWS, rows)


def plan(dropped: Sequence[int], replaced: Sequence[int], max_rows: int) -> list[Product]:
    """Lay the pairs of one position out in products of at most `max_rows` rows.

    Neighbouring dropped sublayers share boundaries: k of them take k + 1 rows. A replaced
    sublayer takes two rows, its dense output and its edited one.
    """
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
        slabs.append(Slab(tuple(group), slice(start, start + len(rows)), *sides))

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
) -> dict[str, Tensor]:
    """Every statistic of `sublayer_trace` and `logit_shift` for one prompt.

    Parameters
    ----------
    dense : (steps, boundaries, d), from `capture.residuals`.
    variant : replaced sublayer -> (steps, d), from `capture.residuals`.
    dropped : the sublayers whose variant is the boundary they read, ascending.

    Returns
    -------
    name -> (steps, sublayers) for `h.…` and `z.…`, (steps, sublayers, temperatures) for `p.…`;
    sublayers as in `traced(variant, dropped)`.
    """
    order = {s: i for i, s in enumerate(traced(variant, dropped))}
    steps = dense.shape[0]
    max_rows = rows_within(memory_mb, unembed.vocabulary)
    found = _Statistics(steps, len(order), len(temperatures), dense.device, unembed.dtype)
    found.put("h", slice(None), list(order.values()), _embedding(dense, variant, order))

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
                columns = [order[s] for s in slab.sublayers]
                together = max(1, PAIRS_TOGETHER // len(columns))
                for low in range(0, z.shape[0], together):
                    high = min(low + together, z.shape[0])
                    rows = slice(start + low, start + high)
                    _put_slab(found, rows, columns, z[low:high, slab.rows], slab, temperatures)
    return found.tensors


def traced(variant: Mapping[int, Tensor], dropped: Sequence[int]) -> list[int]:
    """The sublayers a trace compares, ascending; sublayer 2b is attn of block b, 2b + 1 its mlp."""
    return sorted({*dropped, *variant})


class _Statistics:
    """Columns of one prompt, filled slab by slab."""

    def __init__(
        self,
        steps: int,
        sublayers: int,
        temperatures: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.shape = (steps, sublayers)
        self.temperatures = temperatures
        self.options = {"device": device, "dtype": dtype}
        self.tensors: dict[str, Tensor] = {}

    def put(
        self,
        space: str,
        rows: slice,
        columns: list[int],
        values: metrics.Geometry | metrics.UniformShift | metrics.ProbabilityShift,
        temperature: int | None = None,
    ) -> None:
        for name, value in values._asdict().items():
            shape = self.shape if temperature is None else (*self.shape, self.temperatures)
            column = self.tensors.setdefault(
                f"{space}.{name}",
                torch.empty(shape, **self.options),  # type: ignore[call-overload]
            )
            if temperature is None:
                column[rows, columns] = value
            else:
                column[rows, columns, temperature] = value


def _embedding(
    dense: Tensor, variant: Mapping[int, Tensor], order: Mapping[int, int]
) -> metrics.Geometry:
    wide = torch.promote_types(dense.dtype, torch.float32)
    after = torch.stack([dense[:, s + 1] for s in order], 1).to(wide)
    edited = torch.stack([variant.get(s, dense[:, s]) for s in order], 1).to(wide)
    return metrics.geometry(after, edited - after)


def _put_slab(
    found: _Statistics,
    rows: slice,
    columns: list[int],
    z: Tensor,
    slab: Slab,
    temperatures: Sequence[float],
) -> None:
    """Statistics of the pairs of one slab; `z` is (steps, rows of the slab, vocab)."""
    z_dense, z_variant = z[:, slab.dense], z[:, slab.variant]
    delta_z = z_variant - z_dense
    found.put("z", rows, columns, metrics.geometry(z_dense, delta_z))
    found.put("z", rows, columns, metrics.uniform_shift(delta_z))
    top = z.amax(-1)
    for index, temperature in enumerate(temperatures):
        p = probabilities(z, temperature)
        log_sum = metrics.log_sum(top, p, temperature)
        shift = metrics.probability_shift(
            z_dense,
            delta_z,
            p[:, slab.dense],
            p[:, slab.variant],
            temperature,
            log_sum[:, slab.variant] - log_sum[:, slab.dense],
        )
        found.put("p", rows, columns, shift, index)


def rows_of(
    prompt: str,
    sublayers: Sequence[int],
    found: Mapping[str, Tensor],
    temperatures: Sequence[float],
) -> tuple[pa.Table, pa.Table]:
    """The statistics of one prompt as rows of `sublayer_trace` and of `logit_shift`."""
    steps = found["h.angular_deviation"].shape[0]
    key = _key(prompt, steps, sublayers)
    spaces: list[tuple[str, str, int | None]] = [("embedding", "h", None), ("logit", "z", None)]
    spaces += [("probability", "p", i) for i in range(len(temperatures))]
    trace, shift = [], []
    for space, letter, index in spaces:
        temperature = None if index is None else temperatures[index]
        columns = {
            name.removeprefix(f"{letter}."): (value if index is None else value[..., index])
            .flatten()
            .double()
            .cpu()
            .numpy()
            for name, value in found.items()
            if name.startswith(f"{letter}.")
        }
        trace.append(_table("sublayer_trace", key, temperature, columns, space))
        if space != "embedding":
            shift.append(_table("logit_shift", key, temperature, columns))
    return pa.concat_tables(trace), pa.concat_tables(shift)


def _key(prompt: str, steps: int, sublayers: Sequence[int]) -> dict[str, pa.Array]:
    step, sublayer = np.meshgrid(np.arange(steps), np.asarray(sublayers), indexing="ij")
    halves = np.asarray(SUBLAYERS, dtype=object)
    return {
        "prompt": pa.repeat(prompt, step.size),
        "step": pa.array(step.ravel(), pa.int32()),
        "block": pa.array(sublayer.ravel() // 2, pa.int32()),
        "sublayer": pa.array(halves[sublayer.ravel() % 2], pa.string()),
    }


def _table(
    table: str,
    key: Mapping[str, pa.Array],
    temperature: float | None,
    columns: Mapping[str, np.ndarray],
    space: str | None = None,
) -> pa.Table:
    """One temperature and space as Arrow; statistics that do not exist there are null."""
    size = len(key["step"])
    arrays = dict(key)
    arrays["temperature"] = (
        pa.nulls(size, pa.float64()) if temperature is None else pa.repeat(float(temperature), size)
    )
    if space is not None:
        arrays["space"] = pa.repeat(space, size)
    schema = TABLES[table].schema
    for name in schema.names:
        if name not in arrays:
            measured = columns.get(name)
            arrays[name] = pa.nulls(size, pa.float64()) if measured is None else pa.array(measured)
    return pa.table([arrays[name] for name in schema.names], names=schema.names)
