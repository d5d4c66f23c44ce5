"""Advise which variants of a model lose little on one kind of task, and say what they save."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.inference import advice
from prunescope.report import advice_text, candidates
from prunescope.storage import store


def write_advice(
    tables: Mapping[str, Sequence[str]],
    advice_file: str,
    model: str,
    task: str,
    max_loss: float,
    save: str,
) -> None:
    """Write the advice as text.

    Parameters
    ----------
    tables : files of `score_difference` or `retrieval_difference`, of `variant_cost`,
        `compression_run` and `compression_report`, one per variant and all in the same order, and
        under `variants` the names of the variants.
    advice_file : the file to write.
    model, task, max_loss, save : see `advice_text.text`.
    """
    compared = "retrieval_difference" if task == "retrieval" else "score_difference"
    found, tasks = [], ""
    for index, variant in enumerate(tables["variants"]):
        rows = {
            table: store.read(tables[table][index], table).to_pylist()
            for table in (compared, "variant_cost", "compression_run", "compression_report")
        }
        found.append(
            candidates.candidate(
                variant,
                rows[compared],
                rows["variant_cost"][0],
                rows["compression_run"][0],
                rows["compression_report"],
                task,
            )
        )
        tasks = candidates.tasks_in_words(rows[compared], task)
    judged = advice.advise(found, max_loss, save)
    text = advice_text.text(
        judged, model=model, task=task, tasks=tasks, max_loss=max_loss, save=save
    )
    with store.written_whole(advice_file) as part:
        Path(part).write_text(text, encoding="utf-8")
    progress.LOG.info("%s", text)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    params = snakemake.params
    with progress.job("write_advice", snakemake.log[0]):
        write_advice(
            tables={
                "variants": params.variants,
                **{name: list(files) for name, files in snakemake.input.items()},
            },
            advice_file=snakemake.output.advice,
            model=snakemake.wildcards.model,
            task=snakemake.wildcards.task,
            max_loss=params.max_loss,
            save=snakemake.wildcards.save,
        )
