"""Compare one variant with dense on the same questions in each format, item by item."""

from collections.abc import Mapping
from typing import Any

from prunescope import progress
from prunescope.inference import paired_tasks, score_differences
from prunescope.storage import store


def compare_formats(
    dense_samples: str,
    samples: str,
    differences_file: str,
    seed: int,
    made_by: Mapping[str, object],
) -> None:
    """Write table `format_difference` of one variant.

    Parameters
    ----------
    dense_samples, samples : files of table `matched_samples` of dense and of the variant.
    differences_file : the file to write.
    seed : seed of the resampling.
    made_by : provenance, written into the metadata of the file.

    Raises
    ------
    JobError
        if dense and the variant did not answer the same items.
    """
    dense, variant = (store.read(file, "matched_samples") for file in (dense_samples, samples))
    tasks = paired_tasks.of_formats(dense, variant)
    rows = score_differences.differences("format_difference", tasks, seed)
    store.write(differences_file, rows, "format_difference", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("compare_formats", snakemake.log[0]):
        compare_formats(
            **snakemake.input,
            differences_file=snakemake.output.differences,
            seed=snakemake.params.seed,
            made_by=store.provenance("compare_formats", {"seed": snakemake.params.seed}),
        )
