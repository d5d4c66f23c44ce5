"""Split how every attention output of a variant moves, on the dense model's greedy answers."""

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
    """Write table `attention_error` of one variant. Blocks whose attention is dropped are named.

    Parameters
    ----------
    source : the variant. answers_file : table `dense_answer`. error_file : what is written.
    made_by : the provenance that the table carries.
    """
    loaded = loading.load_variant(source)
    dropped = attention_error.dropped_attention(loaded.edit, len(anatomy.blocks_of(loaded.dense)))
    if dropped:
        progress.LOG.info(
            "blocks %s are left out: their attention is dropped", ", ".join(map(str, dropped))
        )
    answers = prompts.greedy(store.read(answers_file, "dense_answer").to_pylist())
    found = errors(loaded.dense, loaded.variant, answers)
    with store.writer(error_file, "attention_error", made_by) as file:
        for rows in progress.track(found, "prompts split", len(answers)):
            file.write(rows)


def errors(
    dense: Any, variant: Variant, answers: Sequence[Mapping[str, Any]]
) -> Iterator[pa.Table]:
    """Rows of one prompt after another: the whole variant's, and each edited attention's alone.

    Parameters
    ----------
    dense : the model that `variant` was made from.
    answers : rows of `dense_answer`.
    """
    for answer in answers:
        read, start = prompts.context_of(answer)
        token_ids = torch.tensor(read, device=dense.device)
        of_dense = histories.run(dense, token_ids)
        by_history = {
            "edited_sublayer": attention_error.edited_attention(dense, token_ids, variant.edit),
            "teacher_forced": histories.run(variant.model, token_ids, variant.edit).attended,
        }
        yield pa.concat_tables(
            attention_error.as_table(
                answer["prompt"], history, start, of_dense.attended, moved, of_dense.scoring
            )
            for history, moved in by_history.items()
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
