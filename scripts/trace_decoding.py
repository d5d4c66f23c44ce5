"""Trace a whole variant against dense: step by step under four histories, options, texts."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from prunescope import progress
from prunescope.machine import products
from prunescope.model import loading, prompts
from prunescope.storage import store
from prunescope.tracing import decoding
from prunescope.tracing.answer_traces import trace_answers


def trace_decoding(
    source: loading.VariantSource,
    answers_file: str,
    table_files: Mapping[str, str],
    settings: decoding.Settings,
    made_by: Mapping[str, object],
) -> None:
    """Write every table of one variant's decoding, answer by answer, with one model load.

    Parameters
    ----------
    source : the variant. settings : how it decodes, and what is read of that.
    answers_file : table `dense_answer`.
    table_files : table -> file, for each of the tables `trace_answers` yields.
    made_by : the provenance that the tables carry.
    """
    loaded = loading.load_variant(source)
    variant, tokenizer = loaded.variant, loaded.tokenizer
    products.order_weights(loaded.dense, variant.model)
    answers = store.read(answers_file, "dense_answer").to_pylist()
    asked = [
        prompts.Asked(each["prompt"], each["sampling_temperature"], each["prompt_token_ids"])
        for each in answers
    ]
    progress.LOG.info("decoding %d answers in one batch", len(asked))
    written = prompts.answers(
        variant.model, tokenizer, asked, settings.max_new_tokens, settings.seed
    )
    pairs = list(zip(answers, written, strict=True))
    traced = trace_answers(loaded.dense, variant, tokenizer, pairs, settings)
    with ExitStack() as stack:
        files = {
            table: stack.enter_context(store.writer(file, table, made_by))
            for table, file in table_files.items()
        }
        for tables in progress.track(traced, "answers traced", len(answers)):
            for table, rows in tables.items():
                files[table].write(rows)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    params = snakemake.params
    decisive = ("seed", "temperatures", "dtype", "max_new_tokens")
    recorded = {name: params[name] for name in decisive}
    with progress.job("trace_decoding", snakemake.log[0]):
        trace_decoding(
            source=loading.VariantSource(
                model_dir=snakemake.input.model,
                edit_file=snakemake.input.edit,
                dtype=params.dtype,
                threads=snakemake.config["threads"],
                prompting=params.prompting,
            ),
            answers_file=snakemake.input.answers,
            table_files=dict(snakemake.output.items()),
            settings=decoding.Settings(
                max_new_tokens=params.max_new_tokens,
                seed=params.seed,
                temperatures=params.temperatures,
                thresholds=params.thresholds,
                memory_mb=snakemake.resources.logits_mb,
            ),
            made_by=store.provenance("trace_decoding", recorded),
        )
