"""Set what the theorems predict beside what was measured: stored columns in, `deviation` out."""

from collections.abc import Mapping
from typing import Any

from prunescope import deviations, progress, store

KEY = ("prompt", "step", "block", "sublayer", "temperature")


def estimate_deviations(
    trace_file: str, shift_file: str, deviation_file: str, made_by: Mapping[str, object]
) -> None:
    """Write table `deviation` of one variant. No forward pass: algebra over stored columns."""
    trace = store.read(trace_file, "sublayer_trace")
    shift = store.read(shift_file, "logit_shift")
    found = deviations.deviations(trace, shift, KEY, "deviation")
    with store.writer(deviation_file, "deviation", made_by) as deviation:
        for rows in progress.track(found, "quantities estimated", deviations.QUANTITIES):
            deviation.write(rows)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("estimate_deviations", snakemake.log[0]):
        estimate_deviations(
            trace_file=snakemake.input.trace,
            shift_file=snakemake.input.shift,
            deviation_file=snakemake.output.deviation,
            made_by=store.provenance("estimate_deviations", {}),
        )
