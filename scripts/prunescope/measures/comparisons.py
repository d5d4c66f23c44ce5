"""Statistics of pairs (dense, variant) of states: the columns of a trace, filled slab by slab.

A slab is a few pairs whose logits lie side by side in one product, sharing softmaxes where pairs
share a state. On a CPU `fused` takes them all; elsewhere tensors do, a few at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from prunescope import finite
from prunescope.measures import fused, metrics
from prunescope.model.unembedding import probabilities
from prunescope.tables.schemas import TABLES

Metrics = metrics.Geometry | metrics.UniformShift | metrics.ProbabilityShift

_WAY_OUT = (
    "A dense state of length 0 (an embedding of zeros) has no size to compare a change "
    "with, and very large logits overflow in float32. Leave the prompt or the variant out."
)

PRODUCT_ROWS = 512
"""Rows of one lm_head product: enough to reach the GEMM peak, few enough to stay in cache."""

PAIRS_TOGETHER = 6
"""Pairs whose statistics are taken together: their temporaries are a workspace of bounded size."""

WORKSPACE = 9
"""Vocabulary-sized temporaries a pair needs at most while its statistics are taken."""


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


@dataclass(frozen=True)
class Slab:
    """Pairs that lie side by side among the rows of one product.

    columns : their places in the columns. rows : of the product; dense, variant : of these rows,
    equally many, or one dense row for all.
    """

    columns: tuple[int, ...]
    rows: slice
    dense: slice
    variant: slice


class Columns:
    """Every statistic of so many pairs at so many steps, as float64 tensors by name.

    `h.…` and `z.…` are (steps, pairs), `p.…` are (steps, pairs, temperatures).
    """

    def __init__(
        self,
        steps: int,
        pairs: int,
        temperatures: Sequence[float],
        device: torch.device,
    ) -> None:
        self.shape = (steps, pairs)
        self.temperatures = temperatures
        self.device = device
        self.tensors: dict[str, Tensor] = {}

    def put_states(self, dense: Tensor, variant: Tensor) -> None:
        """Geometry of hidden states, (steps, pairs, d) each, in float32 or better."""
        wide = torch.promote_types(dense.dtype, torch.float32)
        dense = finite.checked(dense.to(wide), "hidden states of dense")
        variant = finite.checked(variant.to(wide), "hidden states of the variant")
        columns = range(self.shape[1])
        self._put("h", slice(None), columns, metrics.geometry(dense, variant - dense))

    def put_logits(self, steps: slice, z: Tensor, slab: Slab) -> None:
        """Statistics of z and p of one slab. z : (steps, rows of a product, vocab), contiguous."""
        finite.checked(z[:, slab.rows], "logits")  # compiled loops take no NaN
        if z.device.type == "cpu":
            self._put_fused(steps, z, slab)
            return
        together = max(1, PAIRS_TOGETHER // len(slab.columns))  # temporaries stay small
        for low in range(0, z.shape[0], together):
            high = min(low + together, z.shape[0])
            self._put_slab(
                slice(steps.start + low, steps.start + high), z[low:high, slab.rows], slab
            )

    def _put_fused(self, steps: slice, z: Tensor, slab: Slab) -> None:
        rows = np.arange(z.shape[0] * z.shape[1]).reshape(z.shape[:2])[:, slab.rows]
        variant = rows[:, slab.variant]
        dense = np.broadcast_to(rows[:, slab.dense], variant.shape)
        threads = torch.get_num_threads()
        found = fused.compare(z.flatten(0, 1), dense, variant, self.temperatures, threads)
        self._put("z", steps, slab.columns, found.geometry)
        self._put("z", steps, slab.columns, found.uniform_shift)
        self._put("p", steps, slab.columns, found.probability_shift)

    def _put_slab(self, steps: slice, z: Tensor, slab: Slab) -> None:
        z_variant = z[:, slab.variant]
        z_dense = z[:, slab.dense].expand_as(z_variant)
        delta_z = z_variant - z_dense
        self._put("z", steps, slab.columns, metrics.geometry(z_dense, delta_z))
        self._put("z", steps, slab.columns, metrics.uniform_shift(delta_z))
        top = z.amax(-1)
        shifts = []
        for temperature in self.temperatures:
            p = probabilities(z, temperature)
            log_sum = metrics.log_sum(top, p, temperature)
            shifts.append(
                metrics.probability_shift(
                    z_dense,
                    delta_z,
                    p[:, slab.dense].expand_as(delta_z),
                    p[:, slab.variant],
                    temperature,
                    log_sum[:, slab.variant] - log_sum[:, slab.dense],
                )
            )
        fields = (torch.stack(field, -1) for field in zip(*shifts, strict=True))
        self._put("p", steps, slab.columns, metrics.ProbabilityShift(*fields))

    def _put(self, space: str, steps: slice, pairs: Sequence[int], values: Metrics) -> None:
        """Fields (steps, pairs, …) into the columns of a space."""
        for name, value in values._asdict().items():
            finite.checked(value, f"statistics {space}.{name}", _WAY_OUT)
            column = self.tensors.setdefault(
                f"{space}.{name}",
                torch.empty(
                    (*self.shape, *value.shape[2:]), dtype=torch.float64, device=self.device
                ),
            )
            column[steps, list(pairs)] = value.double()


def as_tables(
    trace: str,
    shift: str,
    key: Mapping[str, pa.Array],
    found: Mapping[str, Tensor],
    temperatures: Sequence[float],
) -> tuple[pa.Table, pa.Table]:
    """Filled columns as rows of two tables: deviations by space, and the distribution of Δz.

    Parameters
    ----------
    trace, shift : names of the tables.
    key : columns that name a pair at a step, in the order of the flattened (steps, pairs).
    found : `Columns.tensors`.
    """
    spaces: list[tuple[str, str, int | None]] = [("embedding", "h", None), ("logit", "z", None)]
    spaces += [("probability", "p", i) for i in range(len(temperatures))]
    deviations, shifts = [], []
    for space, letter, index in spaces:
        temperature = None if index is None else temperatures[index]
        columns = {
            name.removeprefix(f"{letter}."): (value if index is None else value[..., index])
            .flatten()
            .cpu()
            .numpy()
            for name, value in found.items()
            if name.startswith(f"{letter}.")
        }
        deviations.append(_table(trace, key, temperature, columns, space))
        if space != "embedding":
            shifts.append(_table(shift, key, temperature, columns))
    return pa.concat_tables(deviations), pa.concat_tables(shifts)


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


def labelled(labels: Sequence[str], places: np.ndarray) -> pa.Array:
    """A text column from the places of its values among the labels, (rows,) integers."""
    indices = pa.array(places, pa.int32())
    return pa.DictionaryArray.from_arrays(indices, list(labels)).cast(pa.string())
