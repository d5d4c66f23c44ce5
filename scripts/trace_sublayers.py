"""Compare a variant with dense, with one sublayer replaced at a time on the context of dense."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch

from prunescope import finite, progress
from prunescope.model import anatomy, capture, edits, loading, prompts, unembedding
from prunescope.storage import store
from prunescope.tracing import sublayer_traces
from prunescope.tracing.sublayer_traces import TraceSettings


def trace_sublayers(
    source: loading.VariantSource,
    answers_file: str,
    trace_file: str,
    shift_file: str,
    settings: TraceSettings,
    made_by: Mapping[str, object],
) -> None:
    """Write tables `sublayer_trace` and `logit_shift` of one variant, prompt by prompt.

    Parameters
    ----------
    source : the variant.
    answers_file : file of table `dense_answer`.
    trace_file, shift_file : the files to write, one per table.
    settings : how many steps are traced, at which temperatures and by which readout.
    made_by : provenance, written into the metadata of the files.
    """
    loaded = loading.load_variant(source)
    answers = prompts.greedy(store.read(answers_file, "dense_answer").to_pylist())
    traced = trace_prompts(loaded.dense, loaded.edit, answers, settings)
    with (
        store.writer(trace_file, "sublayer_trace", made_by) as trace,
        store.writer(shift_file, "logit_shift", made_by) as shift,
    ):
        for trace_rows, shift_rows in progress.track(traced, "prompts traced", len(answers)):
            trace.write(trace_rows)
            shift.write(shift_rows)


def trace_prompts(
    model: Any, edit: edits.Edit, answers: Sequence[Mapping[str, Any]], settings: TraceSettings
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Rows of both tables, prompt by prompt. There are none if the edit changes no sublayer.

    Parameters
    ----------
    model : the dense model.
    edit : the edit of the variant; its dropped sublayers and replaced tensors are traced one by
        one.
    answers : rows of `dense_answer`, one per prompt.
    settings : how many steps of each answer are traced, at which temperatures and by which readout.
    """
    dropped = edit.dropped_sublayers(len(anatomy.blocks_of(model)))
    if not dropped and not edit.tensors:
        return
    unembed = unembedding.readout_of(model, settings.final_norm)
    for answer in answers:
        context, start = prompts.context_of(answer, settings.steps)
        token_ids = torch.tensor(context, device=model.device)
        dense, variant = capture.residuals(model, token_ids, start, edit)
        with finite.named(f"prompt {answer['prompt']}"):
            statistics = sublayer_traces.statistics(
                dense, variant, dropped, unembed, settings.temperatures, settings.memory_mb
            )
        sublayers = sublayer_traces.traced(variant, dropped)
        yield sublayer_traces.tables_of(answer["prompt"], sublayers, statistics)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    recorded_names = ("temperatures", "final_norm", "steps", "dtype")
    recorded = {name: snakemake.params[name] for name in recorded_names}
    with progress.job("trace_sublayers", snakemake.log[0]):
        trace_sublayers(
            source=loading.VariantSource(
                model_dir=snakemake.input.model,
                edit_file=snakemake.input.edit,
                dtype=snakemake.params.dtype,
                threads=snakemake.config["threads"],
            ),
            answers_file=snakemake.input.answers,
            trace_file=snakemake.output.trace,
            shift_file=snakemake.output.shift,
            settings=TraceSettings(
                temperatures=snakemake.params.temperatures,
                final_norm=snakemake.params.final_norm,
                steps=snakemake.params.steps,
                memory_mb=snakemake.config["tracing"]["memory_mb"],  # decides no number
            ),
            made_by=store.provenance("trace_sublayers", recorded),
        )
