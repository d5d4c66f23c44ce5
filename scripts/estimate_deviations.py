"""Set what the theorems predict beside what was measured: stored columns in, `deviation` out."""

from collections.abc import Mapping
from typing import Any

from prunescope import progress
from prunescope.storage import store
from prunescope.theory import deviations


def estimate_deviations(
    trace_file: str, shift_file: str, deviation_file: str, made_by: Mapping[str, object]
) -> None:
    """Write table `deviation` of one variant."""
    traced = {"sublayer_trace": trace_file, "logit_shift": shift_file}
    deviations.write("deviation", traced, deviation_file, made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("estimate_deviations", snakemake.log[0]):
        estimate_deviations(
            trace_file=snakemake.input.trace,
            shift_file=snakemake.input.shift,
            deviation_file=snakemake.output.deviation,
            made_by=store.provenance("estimate_deviations", {}),
        )
