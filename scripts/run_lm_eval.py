"""Evaluate every task of one suite on one variant, with one load of the model."""

import functools
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.machine import products, runtime
from prunescope.model import edits, loading
from prunescope.progress import LOG, JobError
from prunescope.sandbox import starter
from prunescope.storage import digests, finished, store
from prunescope.tables.schemas import TABLES

Rows = list[dict[str, Any]]


def run_lm_eval(
    model_dir: str,
    edit_file: str,
    rows_dirs: Mapping[str, str],
    scores_file: str,
    samples_file: str,
    tasks: Mapping[str, Mapping[str, Any]],
    batch_size: int,
    dtype: str,
    threads: int,
    decides: Mapping[str, object],
    made_by: Mapping[str, object],
) -> None:
    """Write tables `task_scores` and `task_samples` of one variant.

    Parameters
    ----------
    rows_dirs : task name -> folder of its rows.
    tasks : config's entries of the suite's tasks, by name.
    decides : what decides every task's result beside its settings and rows; finished tasks of an
        interrupted run are taken over only where it is the same.

    Raises
    ------
    JobError
        if a task gave no score, after the others are finished and kept: a failure is no result.
    """
    run = lazily_loaded(model_dir, edit_file, batch_size, dtype, threads)
    scores: Rows = []
    samples: Rows = []
    failed: dict[str, str] = {}
    for name, settings in progress.track(tasks.items(), "tasks"):
        rows = digests.checksums(rows_dirs[name])
        kept = finished.file(scores_file, name, {"task": settings, "rows": rows, **decides})
        try:
            result = result_of(name, settings, rows_dirs[name], kept, run)
        except Exception as error:  # a task's own code may raise anything
            LOG.exception("task %s failed; the others go on", name)
            failed[name] = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            continue
        scores += result["scores"]
        samples += result["samples"]
    refuse_failed(failed, len(tasks))
    for file, table, found in (
        (samples_file, "task_samples", samples),
        (scores_file, "task_scores", scores),
    ):
        written = pa.Table.from_pylist(found, schema=TABLES[table].schema)
        store.write(file, written, table, made_by)
    shutil.rmtree(finished.folder(scores_file))


def lazily_loaded(
    model_dir: str, edit_file: str, batch_size: int, dtype: str, threads: int
) -> Callable[[str, Mapping[str, Any], str], Any]:
    """`evaluation.evaluate` on the variant, which is loaded when the first task asks for it."""
    loaded: list[Any] = []

    def run(name: str, settings: Mapping[str, Any], rows_dir: str) -> Any:
        from prunescope.evaluation import (
            harness,  # here: a run that finds all tasks finished does without
        )

        if not loaded:
            from prunescope.evaluation.variant_lm import VariantLM

            device = runtime.prepare(threads)
            dense = loading.load(model_dir, dtype, device)
            variant = loading.apply_edit(dense, edits.read(edit_file))
            products.order_weights(variant)
            loaded.append(VariantLM(variant, loading.load_tokenizer(model_dir), batch_size))
        if settings.get("runs_code", False):
            proven()
        return harness.evaluate(loaded[0], name, settings, rows_dir)

    return run


@functools.cache
def proven() -> None:
    """Let the sandbox prove itself, once. Raises SandboxError, and then no program is run."""
    starter.prove()


def result_of(
    name: str,
    settings: Mapping[str, Any],
    rows_dir: str,
    kept: Path,
    run: Callable[[str, Mapping[str, Any], str], Any],
) -> dict[str, Rows]:
    """Scores and samples of one task: kept from an interrupted run, or computed and kept.

    Raises whatever the task fails of.
    """
    found: dict[str, Rows] | None = finished.taken_over(kept)
    if found is not None:
        return found
    began = time.perf_counter()
    evaluated = run(name, settings, rows_dir)
    seconds = time.perf_counter() - began
    scores = [{**row, "seconds": seconds} for row in evaluated.scores]
    for row in scores:
        LOG.info("%s: %s = %.4f over %d items", name, row["metric"], row["score"], row["n_items"])
    result = {"scores": scores, "samples": evaluated.samples}
    finished.keep(kept, result)
    return result


def refuse_failed(failed: Mapping[str, str], n_tasks: int) -> None:
    """Raise JobError with the reason of every task that failed, if any has."""
    if failed:
        reasons = " | ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise JobError(
            f"{len(failed)} of {n_tasks} tasks gave no score. {reasons} | The others are kept: "
            "mend the cause, or take the task out of the suite, and run the same command again."
        )


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    settings = {
        "tasks": snakemake.params.tasks,
        "batch_size": snakemake.params.batch_size,
        "dtype": snakemake.params.dtype,
    }
    with progress.job("run_lm_eval", snakemake.log[0]):
        run_lm_eval(
            model_dir=snakemake.input.model,
            edit_file=snakemake.input.edit,
            rows_dirs=dict(zip(snakemake.params.tasks, snakemake.input.rows, strict=True)),
            scores_file=snakemake.output.scores,
            samples_file=snakemake.output.samples,
            threads=snakemake.config["threads"],
            decides={
                "code": snakemake.params.code,
                "model": digests.sha256(Path(snakemake.input.manifest)),
                "edit": digests.sha256(Path(snakemake.input.edit)),
                "batch_size": snakemake.params.batch_size,
                "dtype": snakemake.params.dtype,
                "threads": snakemake.config["threads"],
            },
            made_by=store.provenance("run_lm_eval", settings),
            **settings,
        )
