"""Evaluate every task of one suite on one variant, with one load of the model."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.evaluation import suites
from prunescope.model import loading
from prunescope.progress import LOG
from prunescope.storage import digests, finished, store
from prunescope.tables.schemas import TABLES


def run_lm_eval(
    source: loading.VariantSource,
    rows_dirs: Mapping[str, str],
    scores_file: str,
    samples_file: str,
    tasks: Mapping[str, Mapping[str, Any]],
    batch_size: int,
    decides: Mapping[str, object],
    made_by: Mapping[str, object],
) -> None:
    """Write tables `task_scores` and `task_samples` of one variant.

    Parameters
    ----------
    source : the variant.
    rows_dirs : folder of the rows of each task, by the name of the task.
    scores_file, samples_file : the files to write, one per table.
    tasks : entries in config of the tasks of the suite, by the name of the task.
    batch_size : number of texts that are written at once.
    decides : everything besides settings and rows of a task that decides its result. Tasks that an
        interrupted run had finished are taken over only if it is the same.
    made_by : provenance, written into the metadata of the files.

    Raises
    ------
    JobError
        if a task failed. The results of the other tasks are kept for the next run.
    """
    run = suites.lazily_loaded(source, batch_size)
    scores: suites.Rows = []
    samples: suites.Rows = []
    failed: dict[str, str] = {}
    for name, settings in progress.track(tasks.items(), "tasks"):
        rows = digests.checksums(rows_dirs[name])
        part_file = finished.file(scores_file, name, {"task": settings, "rows": rows, **decides})
        try:
            result = suites.result_of(name, settings, rows_dirs[name], part_file, run)
        except Exception as error:  # the code of a task may raise any exception
            LOG.exception("task %s failed; the other tasks continue", name)
            failed[name] = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            continue
        scores += result["scores"]
        samples += result["samples"]
    suites.raise_failures(failed, len(tasks))
    for file, name, table_rows in (
        (samples_file, "task_samples", samples),
        (scores_file, "task_scores", scores),
    ):
        table = pa.Table.from_pylist(table_rows, schema=TABLES[name].schema)
        store.write(file, table, name, made_by)
    shutil.rmtree(finished.folder(scores_file))


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    inputs, params, threads = snakemake.input, snakemake.params, snakemake.config["threads"]
    recorded = {name: params[name] for name in ("tasks", "batch_size", "dtype")}
    with progress.job("run_lm_eval", snakemake.log[0]):
        run_lm_eval(
            loading.VariantSource(inputs.model, inputs.edit, params.dtype, threads),
            rows_dirs=dict(zip(params.tasks, inputs.rows, strict=True)),
            scores_file=snakemake.output.scores,
            samples_file=snakemake.output.samples,
            tasks=params.tasks,
            batch_size=params.batch_size,
            decides={
                "code": params.code,
                "model": digests.sha256(Path(inputs.manifest)),
                "edit": digests.sha256(Path(inputs.edit)),
                "batch_size": params.batch_size,
                "dtype": params.dtype,
                "threads": threads,
            },
            made_by=store.provenance("run_lm_eval", recorded),
        )
