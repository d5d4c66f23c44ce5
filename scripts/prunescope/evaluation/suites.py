"""The tasks of a suite, one after another: a failing one leaves the others' results.

lm-eval takes seconds to import and a model to run. Both wait until a task asks for them, so that a
run that finds all its tasks finished does without.
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
"""Name and settings of a task, and the folder of its rows -> what `harness.evaluate` gives."""


def lazily_loaded(source: loading.VariantSource, batch_size: int) -> Run:
    """`harness.evaluate` on the variant, which is loaded when the first task asks for it."""
    loaded: list[Any] = []

    def run(name: str, settings: Mapping[str, Any], rows_dir: str) -> Any:
        from prunescope.evaluation import harness

        if not loaded:
            from prunescope.evaluation.variant_lm import VariantLM

            of_source = loading.load_variant(source)
            model, tokenizer = of_source.variant.model, of_source.tokenizer
            del of_source  # and with it the dense weights that the variant replaces
            products.order_weights(model)
            loaded.append(VariantLM(model, tokenizer, batch_size))
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
    run: Run,
) -> dict[str, Rows]:
    """Scores and samples of one task: kept from an interrupted run, or computed and kept.

    Parameters
    ----------
    name, settings : the task's, in config. rows_dir : folder of its rows.
    kept : file of a finished task.
    run : evaluates a task.

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
