"""Fetch the rows of one benchmark task into the store, with one Parquet file per split."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.inputs import sources, task_rows
from prunescope.progress import LOG, JobError
from prunescope.storage import digests, store


def fetch_task(splits: Sequence[Mapping[str, Any]], rows_dir: str) -> None:
    """Fetch every split to a scratch folder, and rename the folder once it is complete.

    Parameters
    ----------
    splits : entries under `rows` of the task in config, one per split.
    rows_dir : the folder to write.
    """
    with sources.scratch(beside=rows_dir) as scratch:
        folder = scratch / "rows"
        folder.mkdir()
        for number, entry in enumerate(splits):
            write_split(entry, folder, scratch / str(number))
        shutil.rmtree(rows_dir, ignore_errors=True)
        store.move(folder, Path(rows_dir))


def write_split(entry: Mapping[str, Any], folder: Path, scratch: Path) -> None:
    """Write `<split>.parquet`, with the columns that the data set has on the hub.

    Parameters
    ----------
    entry : the entry of the split in config.
    folder : the folder to write to.
    scratch : a folder for temporary files.

    Raises
    ------
    JobError
        if the source holds no rows, or a column holds values of several kinds.
    """
    split, source = entry["split"], entry["source"]
    if source["from"] != "wheel":
        source = {"split": split, **source}
    source_rows = task_rows.in_format(entry.get("format", "hub"), sources.rows(source, scratch))
    rows = list(progress.track(source_rows, f"{split} rows"))
    if not rows:
        raise JobError(
            f"{sources.describe(source)} holds no rows of split {split}. Choose another member, "
            "config or split."
        )
    store.write_parquet(folder / f"{split}.parquet", task_rows.table(rows, split))
    LOG.info("%s: %d rows of %s", split, len(rows), sources.describe(source))


def write_manifest(rows_dir: str, manifest_file: str) -> None:
    """Write the checksums of all splits, on which later jobs depend instead of on file times."""
    store.write_json(manifest_file, digests.checksums(rows_dir), indent=1)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("fetch_task", snakemake.log[0]):
        fetch_task(splits=snakemake.params.rows, rows_dir=snakemake.output.rows)
        write_manifest(snakemake.output.rows, snakemake.output.manifest)
