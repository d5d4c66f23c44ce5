"""Compare the task scores of one variant with those of dense, item by item, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.inference import paired_tasks, score_differences
from prunescope.storage import store


def compare_scores(
    files: Mapping[str, Sequence[str]],
    differences_file: str,
    seed: int,
    made_by: Mapping[str, object],
) -> None:
    """Write table `score_difference` of one variant and suite.

    Parameters
    ----------
    files : files of tables `task_scores` and `task_samples`, one per part of the suite:
        `dense_scores` and `dense_samples` of dense, `scores` and `samples` of the variant.
    differences_file : the file to write.
    seed : seed of the resampling.
    made_by : provenance, written into the metadata of the file.

    Raises
    ------
    JobError
        if dense and the variant did not answer the same items.
    """
    tables = {
        name: pa.concat_tables(
            store.read(each, "task_scores" if name.endswith("scores") else "task_samples")
            for each in of_name
        )
        for name, of_name in files.items()
    }
    tasks = paired_tasks.of_suite(**tables)
    rows = score_differences.differences("score_difference", tasks, seed)
    store.write(differences_file, rows, "score_difference", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("compare_scores", snakemake.log[0]):
        compare_scores(
            files={name: list(files) for name, files in snakemake.input.items()},
            differences_file=snakemake.output.differences,
            seed=snakemake.params.seed,
            made_by=store.provenance("compare_scores", {"seed": snakemake.params.seed}),
        )
