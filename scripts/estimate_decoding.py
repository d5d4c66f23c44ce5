"""The theorems in time, beside what was measured: stored columns in, `decoding_deviation` out."""

from collections.abc import Mapping
from typing import Any

from prunescope import deviations, progress, store

KEY = ("prompt", "sampling_temperature", "history", "step", "temperature")


def estimate_decoding(
    trace_file: str, shift_file: str, deviation_file: str, made_by: Mapping[str, object]
) -> None:
    """Write table `decoding_deviation` of one variant, from stored columns alone."""
    trace = store.read(trace_file, "decoding_trace")
    shift = store.read(shift_file, "decoding_shift")
    found = deviations.deviations(trace, shift, KEY, "decoding_deviation")
    with store.writer(deviation_file, "decoding_deviation", made_by) as deviation:
        for rows in progress.track(found, "quantities estimated", deviations.QUANTITIES):
            deviation.write(rows)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("estimate_decoding", snakemake.log[0]):
        estimate_decoding(
            trace_file=snakemake.input.trace,
            shift_file=snakemake.input.shift,
            deviation_file=snakemake.output.deviation,
            made_by=store.provenance("estimate_decoding", {}),
        )
