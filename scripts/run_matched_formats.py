"""Ask one variant the same questions in three formats: retrieval, multiple choice, generation."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.evaluation import matched_formats, matched_questions
from prunescope.evaluation.variant_lm import VariantLM
from prunescope.machine import products
from prunescope.model import loading
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


def run_matched_formats(
    source: loading.VariantSource,
    rows_dirs: Mapping[str, str],
    samples_file: str,
    settings: matched_questions.MatchedSettings,
    made_by: Mapping[str, object],
) -> None:
    """Write table `matched_samples` of one variant.

    Parameters
    ----------
    source : the variant.
    rows_dirs : folder of the rows of each source of questions, by the name of the source.
    samples_file : the file to write.
    settings : which questions are asked, and how.
    made_by : provenance, written into the metadata of the file.

    Raises
    ------
    JobError
        if a source has too few items, or if programs are to be run and the sandbox fails its test.
    """
    items = {
        name: matched_formats.draw_items(
            name, matched_questions.rows(rows_dirs[name]), entry["n_items"], settings.seed
        )
        for name, entry in settings.sources.items()
    }
    runs_code = settings.run_code and "humaneval" in settings.sources
    passes = matched_questions.sandboxed_passes() if runs_code else None
    loaded = loading.load_variant(source)
    model, tokenizer = loaded.variant.model, loaded.tokenizer
    del loaded  # frees the dense weights that the variant replaces
    products.order_weights(model)
    lm = VariantLM(model, tokenizer, settings.batch_size)
    answers = [
        {"source": name, **row}
        for name in progress.track(settings.sources, "sources")
        for row in matched_questions.ask(lm, name, items[name], settings, passes)
    ]
    table = pa.Table.from_pylist(answers, schema=TABLES["matched_samples"].schema)
    store.write(samples_file, table, "matched_samples", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    inputs, params = snakemake.input, snakemake.params
    names = ("sources", "n_candidates", "batch_size", "run_code", "seed")
    settings = {name: params[name] for name in names}
    with progress.job("run_matched_formats", snakemake.log[0]):
        run_matched_formats(
            loading.VariantSource(
                inputs.model, inputs.edit, params.dtype, snakemake.config["threads"]
            ),
            rows_dirs=dict(zip(params.sources, inputs.rows, strict=True)),
            samples_file=snakemake.output.samples,
            settings=matched_questions.MatchedSettings(**settings),
            made_by=store.provenance("run_matched_formats", {**settings, "dtype": params.dtype}),
        )
