"""Run the tasks of a suite one after another; if one fails, the others are kept.

Importing lm-eval takes seconds, and running it needs a model. Both are loaded when the first task
needs them, so a run whose tasks are all finished needs neither.
"""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prunescope.machine import products
from prunescope.model import loading
from prunescope.progress import LOG, JobError
from prunescope.sandbox import starter
from prunescope.storage import finished

Rows = list[dict[str, Any]]

Run = Callable[[str, Mapping[str, Any], str], Any]
"""Name and settings of a task, and the folder of its rows -> result of `harness.evaluate`."""


def lazily_loaded(source: loading.VariantSource, batch_size: int) -> Run:
    """`harness.evaluate` on a variant, which is loaded for the first task."""
    loaded: list[Any] = []

    def run(name: str, settings: Mapping[str, Any], rows_dir: str) -> Any:
        from prunescope.evaluation import harness

        if not loaded:
            from prunescope.evaluation.variant_lm import VariantLM

            loaded_files = loading.load_variant(source)
            model, tokenizer = loaded_files.variant.model, loaded_files.tokenizer
            del loaded_files  # frees the dense weights that the variant replaces
            products.order_weights(model)
            loaded.append(VariantLM(model, tokenizer, batch_size))
        if settings.get("runs_code", False):
            prove_sandbox()
        return harness.evaluate(loaded[0], name, settings, rows_dir)

    return run


@functools.cache
def prove_sandbox() -> None:
    """Check once that programs cannot escape the sandbox. Raises SandboxError if one can."""
    starter.prove()


def result_of(
    name: str,
    settings: Mapping[str, Any],
    rows_dir: str,
    result_file: Path,
    run: Run,
) -> dict[str, Rows]:
    """Scores and samples of one task, from an interrupted run or computed and stored.

    Parameters
    ----------
    name, settings : name and entry of the task in the config.
    rows_dir : folder of the rows of the task.
    result_file : file that keeps the result of the finished task.
    run : evaluates a task; its errors are passed on.
    """
    finished_result: dict[str, Rows] | None = finished.taken_over(result_file)
    if finished_result is not None:
        return finished_result
    start_time = time.perf_counter()
    evaluated = run(name, settings, rows_dir)
    seconds = time.perf_counter() - start_time
    scores = [{**row, "seconds": seconds} for row in evaluated.scores]
    for row in scores:
        LOG.info("%s: %s = %.4f over %d items", name, row["metric"], row["score"], row["n_items"])
    result = {"scores": scores, "samples": evaluated.samples}
    finished.keep(result_file, result)
    return result


def raise_failures(failed: Mapping[str, str], n_tasks: int) -> None:
    """Raise JobError with the reason of every failed task, if there are any."""
    if failed:
        reasons = " | ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise JobError(
            f"{len(failed)} of {n_tasks} tasks gave no score. {reasons} | The others are kept: "
            "correct the cause, or remove the task from the suite, and run the same command again."
        )
