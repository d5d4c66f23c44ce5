"""Tables of deviations: measured values next to estimates, which are computed from stored columns.

The key columns of a row differ between sublayer traces and decoding traces. The estimates are the
same functions of the other columns.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prunescope import finite, progress
from prunescope.storage import store
from prunescope.tables.schemas import TABLES
from prunescope.theory import estimates

_REMEDY = "The trace from which they are computed is damaged: run its trace_ rule again."

N_PARTS = 7
"""Number of tables that `deviations` yields."""


def write(
    table: str,
    traced: Mapping[str, str],
    deviation_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write a table of deviations of one variant.

    Parameters
    ----------
    table : name of the table.
    traced : files of two tables by name, first the deviations by space, then the distribution of
        Δz.
    deviation_file : file to write.
    made_by : provenance of the file.
    """
    trace, shift = (store.read(file, name) for name, file in traced.items())
    parts = deviations(trace, shift, table)
    with store.writer(deviation_file, table, made_by) as deviation:
        for rows in progress.track(parts, "quantities estimated", N_PARTS):
            deviation.write(rows)


def deviations(trace: pa.Table, shift: pa.Table, table: str) -> Iterator[pa.Table]:
    """Rows of a table of deviations, one table for each quantity and order of the estimate.

    Parameters
    ----------
    trace, shift : deviations by space, and the distribution of Δz, of one variant.
    table : name of the table; its columns before `space` are the key.
    """
    names = TABLES[table].schema.names
    key = names[: names.index("space")]

    def part(
        rows: pa.Table, quantity: str, measured: str, order: int | None, estimate: estimates.Floats
    ) -> pa.Table:
        size = rows.num_rows
        columns = {name: rows.column(name) for name in (*key, "space")}
        columns["quantity"] = pa.repeat(quantity, size)
        columns["order"] = pa.array([order] * size, pa.int32())
        columns["measured"] = rows.column(measured)
        columns["estimated"] = pa.array(estimate)
        for kind, values in (("measured", _floats(rows, measured)), ("estimated", estimate)):
            finite.checked(values, f"{table}: {kind} values of {quantity}", _REMEDY)
        return pa.table([columns[name] for name in names], names=names)

    for space in ("embedding", "logit"):
        rows = trace.filter(pc.field("space") == space)
        estimate = estimates.angular_estimate(_floats(rows, "relative_orthogonal_magnitude"))
        yield part(rows, "angular_deviation", "angular_deviation", 2, estimate)

    rows = _with_shift(trace.filter(pc.field("space") == "probability"), shift, key)
    moments = {name: _floats(rows, name) for name in (*_MOMENTS, *_RANGE)}
    t = _floats(rows, "temperature")
    estimate = estimates.probability_angular_estimate(moments["var_escort"], t)
    yield part(rows, "angular_deviation", "angular_deviation", 2, estimate)
    var_p, cumulant_3, cumulant_4 = (
        moments[name] for name in ("var_p", "cumulant_3", "cumulant_4")
    )
    kl_estimates = {
        2: estimates.kl_estimate(var_p, t),
        3: estimates.kl_estimate_third(var_p, cumulant_3, t),
        4: estimates.kl_estimate_fourth(var_p, cumulant_3, cumulant_4, t),
    }
    for order, estimate in kl_estimates.items():
        yield part(rows, "kl_divergence", "kl_divergence", order, estimate)
    bound = estimates.kl_bound(moments["min_shift"], moments["max_shift"], t)
    yield part(rows, "kl_bound", "kl_divergence", None, bound)


_MOMENTS = ("var_p", "var_escort", "cumulant_3", "cumulant_4")
"""Columns of the distribution of Δz for each temperature."""

_RANGE = ("min_shift", "max_shift")
"""Columns of the distribution of Δz that do not depend on the temperature."""


def _with_shift(probability: pa.Table, shift: pa.Table, key: Sequence[str]) -> pa.Table:
    """Join the rows of the probability space with moments and range of Δz.

    Parameters
    ----------
    probability : rows of one space, with the key columns.
    shift : distribution of Δz.
    key : names of the key columns; the last one is the temperature.
    """
    has_temperature = pc.field("temperature").is_valid()
    moments = shift.filter(has_temperature).select([*key, *_MOMENTS])
    ranges = shift.filter(~has_temperature).select([*key[:-1], *_RANGE])
    joined = probability.join(moments, list(key), join_type="inner")
    joined = joined.join(ranges, list(key[:-1]), join_type="inner")
    return joined.sort_by([(name, "ascending") for name in key])


def _floats(rows: pa.Table, name: str) -> estimates.Floats:
    """A column as float64 array."""
    return np.asarray(rows.column(name).to_numpy(), dtype=np.float64)
