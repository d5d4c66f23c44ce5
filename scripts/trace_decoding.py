"""Compare a whole variant with dense: steps under four histories, options, generated texts."""

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
    settings: decoding.DecodingSettings,
    made_by: Mapping[str, object],
) -> None:
    """Write all tables about the decoding of one variant, answer by answer, with one model load.

    Parameters
    ----------
    source : the variant.
    answers_file : file of table `dense_answer`.
    table_files : the files to write, by the name of each table that `trace_answers` yields.
    settings : how the variant decodes, and what is computed from it.
    made_by : provenance, written into the metadata of the files.
    """
    loaded = loading.load_variant(source)
    variant, tokenizer = loaded.variant, loaded.tokenizer
    products.order_weights(loaded.dense, variant.model)
    answers = store.read(answers_file, "dense_answer").to_pylist()
    encoded_prompts = [
        prompts.Asked(each["prompt"], each["sampling_temperature"], each["prompt_token_ids"])
        for each in answers
    ]
    progress.LOG.info("decoding %d answers in one batch", len(encoded_prompts))
    variant_answers = prompts.answers(
        variant.model, tokenizer, encoded_prompts, settings.max_new_tokens, settings.seed
    )
    pairs = list(zip(answers, variant_answers, strict=True))
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
    recorded_names = ("seed", "temperatures", "dtype", "max_new_tokens")
    recorded = {name: params[name] for name in recorded_names}
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
            settings=decoding.DecodingSettings(
                max_new_tokens=params.max_new_tokens,
                seed=params.seed,
                temperatures=params.temperatures,
                thresholds=params.thresholds,
                memory_mb=snakemake.config["tracing"]["memory_mb"],  # decides no number
            ),
            made_by=store.provenance("trace_decoding", recorded),
        )
