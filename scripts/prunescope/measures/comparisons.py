"""Statistics of pairs of states, dense and variant, as the columns of a trace.

The logits of several states are computed by a single matrix product. A slab is a set of pairs whose
logits are rows of the same product; pairs with a common state share its softmax. On a CPU `fused`
computes the statistics of a slab. On other devices they are computed with tensors, for a few pairs
at a time.
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

_REMEDY = (
    "Changes relative to a dense state of length 0 (an embedding of zeros) are undefined, and very "
    "large logits overflow in float32. Leave the prompt or the variant out."
)

PRODUCT_ROWS = 512
"""Most rows of a product with lm_head: enough for the peak speed of matrix products, and few enough
for the cache."""

PAIRS_TOGETHER = 6
"""Most pairs whose statistics are computed at the same time, which limits temporary memory."""

TEMPORARIES_PER_PAIR = 9
"""Most temporary tensors of the size of the vocabulary per pair, while it is compared."""


def rows_within(memory_mb: float, vocabulary: int) -> int:
    """Number of rows of logits that fit into memory, besides temporary tensors.

    Parameters
    ----------
    memory_mb : memory for logits and their statistics, in MiB.
    vocabulary : number of tokens of the vocabulary.

    Raises
    ------
    ValueError
        if not even a single pair fits.
    """
    row_bytes = 8 * vocabulary  # in float64, because float32 does not suffice for some rows
    n_temporaries = TEMPORARIES_PER_PAIR * PAIRS_TOGETHER // 2
    rows = int(memory_mb * 2**20 / row_bytes) - n_temporaries
    least_rows = 2
    if rows < least_rows:
        needed = row_bytes * (least_rows + n_temporaries + 1) / 2**20
        raise ValueError(
            f"tracing.memory_mb is {memory_mb}, but a vocabulary of {vocabulary} tokens needs "
            f"{needed:.0f}. Raise it in config."
        )
    return min(PRODUCT_ROWS, rows)


@dataclass(frozen=True)
class Slab:
    """Pairs whose logits are neighbouring rows of the same product.

    Attributes
    ----------
    pairs : index of each pair among all pairs.
    rows : the rows of the product that belong to this slab.
    dense : the dense rows among them, one per pair or a single one for all pairs.
    variant : the rows of the variant among them, one per pair.
    """

    pairs: tuple[int, ...]
    rows: slice
    dense: slice
    variant: slice


class PairStatistics:
    """All statistics of several pairs at several steps, in float64; NaN until they are filled in.

    Parameters
    ----------
    steps, pairs : numbers of steps and of pairs.
    temperatures : temperatures of the softmax.
    device : device of the tensors.

    Attributes
    ----------
    h, z : geometry of hidden states and of logits, fields (steps, pairs).
    shift : distribution of Δz over the vocabulary, fields (steps, pairs).
    p : deviation of probabilities, fields (steps, pairs, temperatures).
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

        def unknown(n_fields: int, *more_axes: int) -> Iterator[Tensor]:
            size = (steps, pairs, *more_axes)
            for _ in range(n_fields):
                yield torch.full(size, torch.nan, dtype=torch.float64, device=device)

        self.h = metrics.Geometry(*unknown(len(metrics.Geometry._fields)))
        self.z = metrics.Geometry(*unknown(len(metrics.Geometry._fields)))
        self.shift = metrics.UniformShift(*unknown(len(metrics.UniformShift._fields)))
        n_fields = len(metrics.ProbabilityShift._fields)
        self.p = metrics.ProbabilityShift(*unknown(n_fields, len(temperatures)))

    def put_states(self, dense: Tensor, variant: Tensor) -> None:
        """Fill in the geometry of hidden states, (steps, pairs, d) each, in float32 or better."""
        wide = torch.promote_types(dense.dtype, torch.float32)
        dense = finite.checked(dense.to(wide), "hidden states of the dense model")
        variant = finite.checked(variant.to(wide), "hidden states of the variant")
        columns = range(self.shape[1])
        _put(self.h, "h", slice(None), columns, metrics.geometry(dense, variant - dense))

    def put_logits(self, steps: slice, z: Tensor, slab: Slab) -> None:
        """Fill in the statistics of logits and probabilities of one slab.

        Parameters
        ----------
        steps : the steps that `z` belongs to.
        z : (steps, rows of a product, vocab), contiguous.
        slab : the pairs.
        """
        finite.checked(z[:, slab.rows], "logits")  # the compiled loops do not allow NaN
        if z.device.type == "cpu":
            self._put_fused(steps, z, slab)
            return
        chunk_size = max(1, PAIRS_TOGETHER // len(slab.pairs))
        for low in range(0, z.shape[0], chunk_size):
            high = min(low + chunk_size, z.shape[0])
            self._put_slab(
                slice(steps.start + low, steps.start + high), z[low:high, slab.rows], slab
            )

    def _put_fused(self, steps: slice, z: Tensor, slab: Slab) -> None:
        rows = np.arange(z.shape[0] * z.shape[1]).reshape(z.shape[:2])[:, slab.rows]
        variant = rows[:, slab.variant]
        dense = np.broadcast_to(rows[:, slab.dense], variant.shape)
        threads = torch.get_num_threads()
        compared = fused.compare(z.flatten(0, 1), dense, variant, self.temperatures, threads)
        _put(self.z, "z", steps, slab.pairs, compared.geometry)
        _put(self.shift, "z", steps, slab.pairs, compared.uniform_shift)
        _put(self.p, "p", steps, slab.pairs, compared.probability_shift)

    def _put_slab(self, steps: slice, z: Tensor, slab: Slab) -> None:
        z_variant = z[:, slab.variant]
        z_dense = z[:, slab.dense].expand_as(z_variant)
        delta_z = z_variant - z_dense
        _put(self.z, "z", steps, slab.pairs, metrics.geometry(z_dense, delta_z))
        _put(self.shift, "z", steps, slab.pairs, metrics.uniform_shift(delta_z))
        largest = z.amax(-1)
        shifts = []
        for temperature in self.temperatures:
            p = probabilities(z, temperature)
            log_sum = metrics.log_sum(largest, p, temperature)
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
        _put(self.p, "p", steps, slab.pairs, metrics.ProbabilityShift(*fields))

    def as_tables(
        self, trace: str, shift: str, key: Mapping[str, pa.Array], kept: Tensor | None = None
    ) -> tuple[pa.Table, pa.Table]:
        """Convert the statistics to rows of two tables, of deviations by space and of Δz.

        Parameters
        ----------
        trace, shift : names of the tables.
        key : the columns that identify a pair at a step, for the pairs that become rows, in the
            order of the flattened (steps, pairs).
        kept : (steps, pairs) bool, the pairs that become rows; None for all pairs.
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
    """Write statistics into columns.

    Parameters
    ----------
    columns : fields for all steps and pairs, (all steps, all pairs, …) each.
    letter : name of the columns in messages.
    steps, pairs : where the values belong.
    values : fields (steps, pairs, …), of the same type as the columns.
    """
    for name, column, value in zip(values._fields, columns, values, strict=True):
        finite.checked(value, f"statistics {letter}.{name}", _REMEDY)
        column[steps, list(pairs)] = value.double()


def _table(
    table: str,
    key: Mapping[str, pa.Array],
    temperature: float | None,
    columns: Mapping[str, np.ndarray],
    space: str | None = None,
) -> pa.Table:
    """Rows of a table for one temperature and space.

    Statistics that are not defined for them are null.

    Parameters
    ----------
    table : name of the table in `schemas`.
    key : the columns that identify a pair at a step.
    temperature : None for statistics that do not depend on it.
    columns : the statistics by name, (rows,) each.
    space : None for tables without this column.
    """
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
            values = columns.get(name)
            arrays[name] = pa.nulls(size, pa.float64()) if values is None else pa.array(values)
    return pa.table([arrays[name] for name in schema.names], names=schema.names)


def labelled(labels: Sequence[str], indices: np.ndarray) -> pa.Array:
    """A text column whose values are `labels[index]` for each of the indices, (rows,) integers."""
    array = pa.array(indices, pa.int32())
    return pa.DictionaryArray.from_arrays(array, list(labels)).cast(pa.string())
