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
    rows_dirs : task name -> folder of its rows.
    scores_file, samples_file : what is written.
    tasks : config's entries of the suite's tasks, by name.
    batch_size : sequences of one pass.
    decides : what decides every task's result beside its settings and rows; finished tasks of an
        interrupted run are taken over only where it is the same.
    made_by : the provenance that the tables carry.

    Raises
    ------
    JobError
        if a task gave no score, after the others are finished and kept: a failure is no result.
    """
    run = suites.lazily_loaded(source, batch_size)
    scores: suites.Rows = []
    samples: suites.Rows = []
    failed: dict[str, str] = {}
    for name, settings in progress.track(tasks.items(), "tasks"):
        rows = digests.checksums(rows_dirs[name])
        kept = finished.file(scores_file, name, {"task": settings, "rows": rows, **decides})
        try:
            result = suites.result_of(name, settings, rows_dirs[name], kept, run)
        except Exception as error:  # a task's own code may raise anything
            LOG.exception("task %s failed; the others go on", name)
            failed[name] = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            continue
        scores += result["scores"]
        samples += result["samples"]
    suites.raise_failures(failed, len(tasks))
    for file, table, found in (
        (samples_file, "task_samples", samples),
        (scores_file, "task_scores", scores),
    ):
        written = pa.Table.from_pylist(found, schema=TABLES[table].schema)
        store.write(file, written, table, made_by)
    shutil.rmtree(finished.folder(scores_file))


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    given, params, threads = snakemake.input, snakemake.params, snakemake.config["threads"]
    recorded = {name: params[name] for name in ("tasks", "batch_size", "dtype")}
    with progress.job("run_lm_eval", snakemake.log[0]):
        run_lm_eval(
            loading.VariantSource(given.model, given.edit, params.dtype, threads),
            rows_dirs=dict(zip(params.tasks, given.rows, strict=True)),
            scores_file=snakemake.output.scores,
            samples_file=snakemake.output.samples,
            tasks=params.tasks,
            batch_size=params.batch_size,
            decides={
                "code": params.code,
                "model": digests.sha256(Path(given.manifest)),
                "edit": digests.sha256(Path(given.edit)),
                "batch_size": params.batch_size,
                "dtype": params.dtype,
                "threads": threads,
            },
            made_by=store.provenance("run_lm_eval", recorded),
        )
