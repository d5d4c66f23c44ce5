"""Set what the theorems predict beside what was measured: stored columns in, `deviation` out."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prunescope import progress, store, theory
from prunescope.schemas import TABLES

KEY = ("prompt", "step", "block", "sublayer", "temperature")


def estimate_deviations(
    trace_file: str, shift_file: str, deviation_file: str, made_by: Mapping[str, object]
) -> None:
    """Write table `deviation` of one variant. No forward pass: algebra over stored columns."""
    trace = store.read(trace_file, "sublayer_trace")
    shift = store.read(shift_file, "logit_shift")
    with store.writer(deviation_file, "deviation", made_by) as deviation:
        for rows in progress.track(deviations(trace, shift), "quantities estimated", 7):
            deviation.write(rows)


def deviations(trace: pa.Table, shift: pa.Table) -> Iterator[pa.Table]:
    """Rows of `deviation`, one quantity and order after another.

    Parameters
    ----------
    trace, shift : tables `sublayer_trace` and `logit_shift` of one variant.
    """
    for space in ("embedding", "logit"):
        rows = trace.filter(pc.field("space") == space)
        estimate = theory.angular_estimate(_floats(rows, "relative_orthogonal_magnitude"))
        yield _beside(rows, "angular_deviation", "angular_deviation", 2, estimate)

    rows = _with_shift(trace.filter(pc.field("space") == "probability"), shift)
    at = {name: _floats(rows, name) for name in rows.column_names if name not in (*KEY, "space")}
    t = _floats(rows, "temperature")
    yield _beside(
        rows,
        "angular_deviation",
        "angular_deviation",
        2,
        theory.probability_angular_estimate(at["var_escort"], t),
    )
    kl_estimates = {
        2: theory.kl_estimate(at["var_p"], t),
        3: theory.kl_estimate_third(at["var_p"], at["cumulant_3"], t),
        4: theory.kl_estimate_fourth(at["var_p"], at["cumulant_3"], at["cumulant_4"], t),
    }
    for order, estimate in kl_estimates.items():
        yield _beside(rows, "kl_divergence", "kl_divergence", order, estimate)
    bound = theory.kl_bound(at["min_shift"], at["max_shift"], t)
    yield _beside(rows, "kl_bound", "kl_divergence", None, bound)


def _with_shift(probability: pa.Table, shift: pa.Table) -> pa.Table:
    """Probability rows with the moments of their temperature and the range, which has none."""
    has_temperature = pc.field("temperature").is_valid()
    moments = shift.filter(has_temperature).select([*KEY, *_MOMENTS])
    ranges = shift.filter(~has_temperature).select([*KEY[:-1], "min_shift", "max_shift"])
    joined = probability.join(moments, list(KEY), join_type="inner")
    joined = joined.join(ranges, list(KEY[:-1]), join_type="inner")
    return joined.sort_by([(name, "ascending") for name in KEY])


_MOMENTS = ("var_p", "var_escort", "cumulant_3", "cumulant_4")


def _beside(
    rows: pa.Table, quantity: str, measured: str, order: int | None, estimate: theory.Floats
) -> pa.Table:
    size = rows.num_rows
    columns: dict[str, Any] = {name: rows.column(name) for name in (*KEY, "space")}
    columns["quantity"] = pa.repeat(quantity, size)
    columns["order"] = pa.array([order] * size, pa.int32())
    columns["measured"] = rows.column(measured)
    columns["estimated"] = pa.array(estimate)
    names = TABLES["deviation"].schema.names
    return pa.table([columns[name] for name in names], names=names)


def _floats(rows: pa.Table, name: str) -> theory.Floats:
    return np.asarray(rows.column(name).to_numpy(), dtype=np.float64)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("estimate_deviations", snakemake.log[0]):
        estimate_deviations(
            trace_file=snakemake.input.trace,
            shift_file=snakemake.input.shift,
            deviation_file=snakemake.output.deviation,
            made_by=store.provenance("estimate_deviations", {}),
        )
