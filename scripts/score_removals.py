"""Search the sublayers or blocks whose removal changes a model least, by one selection."""

from collections.abc import Mapping, Sequence
from typing import Any

from prunescope import progress
from prunescope.compression import partial_passes, removal_search
from prunescope.compression.selections import Selection, named
from prunescope.machine import runtime
from prunescope.model import loading, prompts
from prunescope.storage import store


def score_removals(
    model_dir: str,
    text_file: str,
    scores_file: str,
    selection: Selection,
    n_drop: int | str,
    memory_mb: float,
    passes: tuple[str, int],
    made_by: Mapping[str, object],
) -> None:
    """Write table `removal_score` of one model and selection.

    Parameters
    ----------
    model_dir : folder of the dense model, which is causal.
    text_file : table `selection_answer`, or `calibration` if the selection reads it.
    scores_file : the file to write.
    selection : criterion, text and search, and what may be dropped.
    n_drop : number of parts that a greedy search chooses, or `all`.
    memory_mb : most memory for logits and their statistics, in MB.
    passes : number type of the weights, and number of CPU threads.
    made_by : provenance, written into the metadata of the file.
    """
    dtype, threads = passes
    device = runtime.prepare(threads)
    model = loading.load(model_dir, dtype, device)
    batches = partial_passes.batches_of(sequences(text_file, selection.text))
    search = removal_search.Search(model, batches, selection, memory_mb)
    rounds = search.rounds(n_drop)
    progress.LOG.info(
        "ran %d blocks, %.1f passes, and %d rows of logits",
        *(search.blocks.calls, search.n_passes, search.outputs.rows),
    )
    store.write(scores_file, search.table(rounds), "removal_score", made_by)


def sequences(text_file: str, text: str) -> list[tuple[Sequence[int], int]]:
    """The tokens that are read, and the first position at which states are compared.

    On `own_answers` these are the positions from which the answer is generated, otherwise all.
    """
    if text == "calibration":
        rows = store.read(text_file, "calibration").column("token_ids").to_pylist()
        return [(token_ids, 0) for token_ids in rows]
    answers = store.read(text_file, "selection_answer").to_pylist()
    if text == "own_answers":
        return [prompts.context_of(answer) for answer in answers]
    return [(answer["prompt_token_ids"], 0) for answer in answers]


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    chosen, params = named(snakemake.wildcards.selection), snakemake.params
    threads = snakemake.config["threads"]
    recorded = {**chosen._asdict(), "n_drop": params.n_drop, "dtype": params.dtype}
    with progress.job("score_removals", snakemake.log[0]):
        score_removals(
            model_dir=snakemake.input.model,
            text_file=snakemake.input.text,
            scores_file=snakemake.output.scores,
            selection=chosen,
            n_drop=params.n_drop,
            memory_mb=snakemake.resources.logits_mb,
            passes=(params.dtype, threads),
            made_by=store.provenance("score_removals", {**recorded, "threads": threads}),
        )
