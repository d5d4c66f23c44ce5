"""Statistics of pairs (dense, variant) of states: the columns of a trace, filled slab by slab.

A slab is a few pairs whose logits lie side by side in one product, sharing softmaxes where pairs
share a state. On a CPU `fused` takes them all; elsewhere tensors do, a few at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    """Every statistic of so many pairs at so many steps, float64; NaN until it is put.

    Attributes
    ----------
    h, z : geometry of the hidden states and of the logits, fields (steps, pairs).
    shift : Δz over the vocabulary, fields (steps, pairs).
    p : deviation of the probabilities, fields (steps, pairs, temperatures).
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

        def unknown(n_fields: int, *more: int) -> Iterator[Tensor]:
            size = (steps, pairs, *more)
            for _ in range(n_fields):
                yield torch.full(size, torch.nan, dtype=torch.float64, device=device)

        self.h = metrics.Geometry(*unknown(len(metrics.Geometry._fields)))
        self.z = metrics.Geometry(*unknown(len(metrics.Geometry._fields)))
        self.shift = metrics.UniformShift(*unknown(len(metrics.UniformShift._fields)))
        n_fields = len(metrics.ProbabilityShift._fields)
        self.p = metrics.ProbabilityShift(*unknown(n_fields, len(temperatures)))

    def put_states(self, dense: Tensor, variant: Tensor) -> None:
        """Geometry of hidden states, (steps, pairs, d) each, in float32 or better."""
        wide = torch.promote_types(dense.dtype, torch.float32)
        dense = finite.checked(dense.to(wide), "hidden states of dense")
        variant = finite.checked(variant.to(wide), "hidden states of the variant")
        columns = range(self.shape[1])
        _put(self.h, "h", slice(None), columns, metrics.geometry(dense, variant - dense))

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
        _put(self.z, "z", steps, slab.columns, found.geometry)
        _put(self.shift, "z", steps, slab.columns, found.uniform_shift)
        _put(self.p, "p", steps, slab.columns, found.probability_shift)

    def _put_slab(self, steps: slice, z: Tensor, slab: Slab) -> None:
        z_variant = z[:, slab.variant]
        z_dense = z[:, slab.dense].expand_as(z_variant)
        delta_z = z_variant - z_dense
        _put(self.z, "z", steps, slab.columns, metrics.geometry(z_dense, delta_z))
        _put(self.shift, "z", steps, slab.columns, metrics.uniform_shift(delta_z))
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
        _put(self.p, "p", steps, slab.columns, metrics.ProbabilityShift(*fields))

    def as_tables(
        self, trace: str, shift: str, key: Mapping[str, pa.Array], kept: Tensor | None = None
    ) -> tuple[pa.Table, pa.Table]:
        """The columns as rows of two tables: deviations by space, and the distribution of Δz.

        Parameters
        ----------
        trace, shift : names of the tables.
        key : columns that name a pair at a step, in the order of the flattened (steps, pairs).
        kept : (steps, pairs) bool, the pairs that become rows; None for all of them.
        """
        rows = torch.ones(self.shape, dtype=torch.bool) if kept is None else kept

        def arrays(fields: Metrics, temperature: int | None = None) -> dict[str, np.ndarray]:
            return {
                name: (values if temperature is None else values[..., temperature])
                .cpu()[rows]
                .numpy()
                for name, values in fields._asdict().items()
            }

        of_h, of_z = arrays(self.h), {**arrays(self.z), **arrays(self.shift)}
        deviations = [
            _table(trace, key, None, of_h, "embedding"),
            _table(trace, key, None, of_z, "logit"),
        ]
        shifts = [_table(shift, key, None, of_z)]
        for index, temperature in enumerate(self.temperatures):
            of_p = arrays(self.p, index)
            deviations.append(_table(trace, key, temperature, of_p, "probability"))
            shifts.append(_table(shift, key, temperature, of_p))
        return pa.concat_tables(deviations), pa.concat_tables(shifts)


def _put(
    columns: Metrics, letter: str, steps: slice, pairs: Sequence[int], values: Metrics
) -> None:
    """Fields (steps, pairs, …) into the columns of the same kind, which `letter` names."""
    for name, column, value in zip(values._fields, columns, values, strict=True):
        finite.checked(value, f"statistics {letter}.{name}", _WAY_OUT)
        column[steps, list(pairs)] = value.double()


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
