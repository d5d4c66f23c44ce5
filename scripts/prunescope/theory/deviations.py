"""Measured beside estimated: the estimates of the theorems from stored columns, as rows.

What a row is of, beyond its temperature, differs between a sublayer trace and a decoding trace;
the algebra does not.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prunescope import finite, progress
from prunescope.storage import store
from prunescope.tables.schemas import TABLES
from prunescope.theory import estimates

_WAY_OUT = "The trace they are made from is damaged: run its trace_ rule again."

QUANTITIES = 7
"""Tables that `deviations` yields."""


def write(
    table: str,
    traced: Mapping[str, str],
    deviation_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write a table of deviations of one variant. No forward pass: algebra over stored columns.

    Parameters
    ----------
    traced : file by table, the deviations by space and then the distribution of Δz.
    """
    trace, shift = (store.read(file, name) for name, file in traced.items())
    found = deviations(trace, shift, table)
    with store.writer(deviation_file, table, made_by) as deviation:
        for rows in progress.track(found, "quantities estimated", QUANTITIES):
            deviation.write(rows)


def deviations(trace: pa.Table, shift: pa.Table, table: str) -> Iterator[pa.Table]:
    """Rows of a table of deviations, one quantity and order after another.

    Parameters
    ----------
    trace, shift : deviations by space and the distribution of Δz, of one variant.
    table : whose columns the rows have; what they are of stands before `space`.
    """
    names = TABLES[table].schema.names
    key = names[: names.index("space")]

    def beside(
        rows: pa.Table, quantity: str, measured: str, order: int | None, estimate: estimates.Floats
    ) -> pa.Table:
        size = rows.num_rows
        columns = {name: rows.column(name) for name in (*key, "space")}
        columns["quantity"] = pa.repeat(quantity, size)
        columns["order"] = pa.array([order] * size, pa.int32())
        columns["measured"] = rows.column(measured)
        columns["estimated"] = pa.array(estimate)
        for side, values in (("measured", _floats(rows, measured)), ("estimated", estimate)):
            finite.checked(values, f"{table}: {side} values of {quantity}", _WAY_OUT)
        return pa.table([columns[name] for name in names], names=names)

    for space in ("embedding", "logit"):
        rows = trace.filter(pc.field("space") == space)
        estimate = estimates.angular_estimate(_floats(rows, "relative_orthogonal_magnitude"))
        yield beside(rows, "angular_deviation", "angular_deviation", 2, estimate)

    rows = _with_shift(trace.filter(pc.field("space") == "probability"), shift, key)
    at = {name: _floats(rows, name) for name in rows.column_names if name not in (*key, "space")}
    t = _floats(rows, "temperature")
    yield beside(
        rows,
        "angular_deviation",
        "angular_deviation",
        2,
        estimates.probability_angular_estimate(at["var_escort"], t),
    )
    kl_estimates = {
        2: estimates.kl_estimate(at["var_p"], t),
        3: estimates.kl_estimate_third(at["var_p"], at["cumulant_3"], t),
        4: estimates.kl_estimate_fourth(at["var_p"], at["cumulant_3"], at["cumulant_4"], t),
    }
    for order, estimate in kl_estimates.items():
        yield beside(rows, "kl_divergence", "kl_divergence", order, estimate)
    bound = estimates.kl_bound(at["min_shift"], at["max_shift"], t)
    yield beside(rows, "kl_bound", "kl_divergence", None, bound)


def _with_shift(probability: pa.Table, shift: pa.Table, key: Sequence[str]) -> pa.Table:
    """Probability rows with the moments of their temperature and the range, which has none."""
    has_temperature = pc.field("temperature").is_valid()
    moments = shift.filter(has_temperature).select([*key, *_MOMENTS])
    ranges = shift.filter(~has_temperature).select([*key[:-1], "min_shift", "max_shift"])
    joined = probability.join(moments, list(key), join_type="inner")
    joined = joined.join(ranges, list(key[:-1]), join_type="inner")
    return joined.sort_by([(name, "ascending") for name in key])


_MOMENTS = ("var_p", "var_escort", "cumulant_3", "cumulant_4")


def _floats(rows: pa.Table, name: str) -> estimates.Floats:
    return np.asarray(rows.column(name).to_numpy(), dtype=np.float64)
