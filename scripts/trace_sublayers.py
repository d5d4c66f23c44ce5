"""Trace one variant: replace one sublayer at a time on the dense model's context."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch

from prunescope import finite, progress
from prunescope.machine import runtime
from prunescope.model import anatomy, capture, edits, loading, prompts, unembedding
from prunescope.storage import store
from prunescope.tracing import sublayer_traces


def trace_sublayers(
    model_dir: str,
    edit_file: str,
    answers_file: str,
    trace_file: str,
    shift_file: str,
    temperatures: Sequence[float],
    final_norm: bool,
    steps: int,
    memory_mb: float,
    dtype: str,
    threads: int,
    made_by: Mapping[str, object],
) -> None:
    """Write tables `sublayer_trace` and `logit_shift` of one variant, prompt by prompt."""
    device = runtime.prepare(threads)
    model = loading.load(model_dir, dtype, device)
    edit = edits.read(edit_file)
    answers = prompts.greedy(store.read(answers_file, "dense_answer").to_pylist())
    unembed = unembedding.readout_of(model, final_norm)
    traced = trace_prompts(model, unembed, edit, answers, steps, temperatures, memory_mb)
    with (
        store.writer(trace_file, "sublayer_trace", made_by) as trace,
        store.writer(shift_file, "logit_shift", made_by) as shift,
    ):
        for trace_rows, shift_rows in progress.track(traced, "prompts traced", len(answers)):
            trace.write(trace_rows)
            shift.write(shift_rows)


def trace_prompts(
    model: Any,
    unembed: unembedding.Unembedding,
    edit: edits.Edit,
    answers: Sequence[Mapping[str, Any]],
    steps: int,
    temperatures: Sequence[float],
    memory_mb: float,
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Rows of both tables for one prompt after another, the first `steps` of each answer.

    `answers` are rows of `dense_answer`.

    An empty edit touches no sublayer: no rows.
    """
    dropped = edit.dropped_sublayers(len(anatomy.blocks_of(model)))
    if not dropped and not edit.tensors:
        return
    for answer in answers:
        read, start = prompts.context_of(answer, steps)
        token_ids = torch.tensor(read, device=model.device)
        dense, variant = capture.residuals(model, token_ids, start, edit)
        with finite.named(f"prompt {answer['prompt']}"):
            found = sublayer_traces.statistics(
                dense, variant, dropped, unembed, temperatures, memory_mb
            )
        sublayers = sublayer_traces.traced(variant, dropped)
        yield sublayer_traces.rows_of(answer["prompt"], sublayers, found, temperatures)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    decisive = ("temperatures", "final_norm", "steps", "dtype")
    settings = {name: snakemake.params[name] for name in decisive}
    with progress.job("trace_sublayers", snakemake.log[0]):
        trace_sublayers(
            model_dir=snakemake.input.model,
            edit_file=snakemake.input.edit,
            answers_file=snakemake.input.answers,
            trace_file=snakemake.output.trace,
            shift_file=snakemake.output.shift,
            memory_mb=snakemake.resources.logits_mb,
            threads=snakemake.config["threads"],
            made_by=store.provenance("trace_sublayers", settings),
            **settings,
        )
