"""Correlate what predicts a loss of score with the loss, over the variants of one model."""

from collections.abc import Mapping, Sequence
from typing import Any

from prunescope import progress
from prunescope.inference import correlations
from prunescope.report import queries
from prunescope.storage import store


def correlate_losses(
    tables: Mapping[str, Sequence[str]], correlations_file: str, made_by: Mapping[str, object]
) -> None:
    """Write table `loss_correlation` of one model and suite.

    Parameters
    ----------
    tables : files of `decoding_deviation`, `score_difference` and `compression_run` of every
        variant, and of `noise_floor`, below which deviations do not count.
    correlations_file : the file to write.
    made_by : provenance, written into the metadata of the file.
    """
    with store.open_tables(tables) as connection:
        queries.prepare(connection)
        pairs = queries.units(connection, "FROM predicted_losses ORDER BY ALL", {})
    store.write(correlations_file, correlations.of_losses(pairs), "loss_correlation", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("correlate_losses", snakemake.log[0]):
        correlate_losses(
            tables={name: list(files) for name, files in snakemake.input.items()},
            correlations_file=snakemake.output.correlations,
            made_by=store.provenance("correlate_losses", {}),
        )
