"""Split the change of every attention output into parts, on the greedy answers of dense."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch

from prunescope import progress
from prunescope.model import anatomy, loading, prompts
from prunescope.model.variant import Variant
from prunescope.storage import store
from prunescope.tracing import attention_error, histories


def split_attention_error(
    source: loading.VariantSource,
    answers_file: str,
    error_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write table `attention_error` of one variant.

    Blocks whose attention the variant drops are left out and listed in the log.

    Parameters
    ----------
    source : the variant.
    answers_file : file of table `dense_answer`.
    error_file : the file to write.
    made_by : provenance, written into the metadata of the file.
    """
    loaded = loading.load_variant(source)
    dropped = attention_error.dropped_attention(loaded.edit, len(anatomy.blocks_of(loaded.dense)))
    if dropped:
        progress.LOG.info(
            "blocks %s are left out: their attention is dropped", ", ".join(map(str, dropped))
        )
    answers = prompts.greedy(store.read(answers_file, "dense_answer").to_pylist())
    error_tables = errors(loaded.dense, loaded.variant, answers)
    with store.writer(error_file, "attention_error", made_by) as file:
        for rows in progress.track(error_tables, "prompts split", len(answers)):
            file.write(rows)


def errors(
    dense: Any, variant: Variant, answers: Sequence[Mapping[str, Any]]
) -> Iterator[pa.Table]:
    """Rows of each prompt, for every edited attention alone and for the whole variant.

    Parameters
    ----------
    dense : the dense model.
    variant : the variant made from it.
    answers : rows of `dense_answer`, one per prompt.
    """
    for answer in answers:
        context, start = prompts.context_of(answer)
        token_ids = torch.tensor(context, device=dense.device)
        dense_run = histories.run(dense, token_ids)
        by_history = {
            "edited_sublayer": attention_error.edited_attention(dense, token_ids, variant.edit),
            "teacher_forced": histories.run(variant.model, token_ids, variant.edit).attended,
        }
        yield pa.concat_tables(
            attention_error.as_table(
                answer["prompt"], history, start, dense_run.attended, attended, dense_run.scoring
            )
            for history, attended in by_history.items()
        )


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("split_attention_error", snakemake.log[0]):
        split_attention_error(
            source=loading.VariantSource(
                model_dir=snakemake.input.model,
                edit_file=snakemake.input.edit,
                dtype=snakemake.params.dtype,
                threads=snakemake.config["threads"],
            ),
            answers_file=snakemake.input.answers,
            error_file=snakemake.output.attention_error,
            made_by=store.provenance("split_attention_error", {"dtype": snakemake.params.dtype}),
        )
