"""Compare deviations measured at each edited sublayer with those that the theorems predict."""

from collections.abc import Mapping
from typing import Any

from prunescope import progress
from prunescope.storage import store
from prunescope.theory import deviations


def estimate_deviations(
    trace_file: str, shift_file: str, deviation_file: str, made_by: Mapping[str, object]
) -> None:
    """Write table `deviation` of one variant, computed from stored columns.

    Parameters
    ----------
    trace_file, shift_file : tables `sublayer_trace` and `logit_shift` of the variant.
    deviation_file : the file to write.
    made_by : provenance, written into the metadata of the file.
    """
    trace_files = {"sublayer_trace": trace_file, "logit_shift": shift_file}
    deviations.write("deviation", trace_files, deviation_file, made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("estimate_deviations", snakemake.log[0]):
        estimate_deviations(
            trace_file=snakemake.input.trace,
            shift_file=snakemake.input.shift,
            deviation_file=snakemake.output.deviation,
            made_by=store.provenance("estimate_deviations", {}),
        )
