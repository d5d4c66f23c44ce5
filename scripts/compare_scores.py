"""Compare the task scores of one variant with those of dense, item by item, with intervals."""

from collections.abc import Mapping
from typing import Any

from prunescope import progress
from prunescope.inference import score_differences
from prunescope.storage import store


def compare_scores(
    dense_scores: str,
    dense_samples: str,
    variant_samples: str,
    differences_file: str,
    seed: int,
    made_by: Mapping[str, object],
) -> None:
    """Write table `score_difference` of one variant and suite.

    Parameters
    ----------
    dense_scores, dense_samples : files of tables `task_scores` and `task_samples` of dense.
    variant_samples : file of table `task_samples` of the variant, for the same suite.
    differences_file : the file to write.
    seed : seed of the resampling.
    made_by : provenance, written into the metadata of the file.

    Raises
    ------
    JobError
        if dense and the variant did not answer the same items.
    """
    tasks = score_differences.paired_tasks(
        store.read(dense_scores, "task_scores"),
        store.read(dense_samples, "task_samples"),
        store.read(variant_samples, "task_samples"),
    )
    rows = score_differences.differences(tasks, seed)
    store.write(differences_file, rows, "score_difference", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("compare_scores", snakemake.log[0]):
        compare_scores(
            **snakemake.input,
            differences_file=snakemake.output.differences,
            seed=snakemake.params.seed,
            made_by=store.provenance("compare_scores", {"seed": snakemake.params.seed}),
        )
