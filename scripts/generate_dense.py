"""Let the dense model answer every prompt greedily: the context of every sublayer trace."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from prunescope import models, progress, prompts, runtime, store
from prunescope.schemas import TABLES


def generate_dense(
    model_dir: str,
    prompt_texts: Mapping[str, Mapping[str, str]],
    max_new_tokens: int,
    answers_file: str,
    dtype: str,
    threads: int,
    made_by: Mapping[str, object],
) -> None:
    """Write table `dense_answer` of one model."""
    device = runtime.prepare(threads)
    model, tokenizer = models.load(model_dir, dtype, device), models.load_tokenizer(model_dir)
    token_ids = [prompts.prompt_token_ids(tokenizer, p["text"]) for p in prompt_texts.values()]
    answers = prompts.greedy_answers(model, tokenizer, token_ids, max_new_tokens)
    ends = prompts.end_of_text(model, tokenizer)
    rows = prompts.as_rows(prompt_texts, token_ids, answers, tokenizer, ends)
    table = pa.Table.from_pylist(rows, schema=TABLES["dense_answer"].schema)
    store.write(answers_file, table, "dense_answer", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("generate_dense", snakemake.log[0]):
        generate_dense(
            model_dir=snakemake.input.model,
            prompt_texts=snakemake.params.prompts,
            max_new_tokens=snakemake.params.decoding["max_new_tokens"],
            answers_file=snakemake.output.answers,
            dtype=snakemake.params.dtype,
            threads=snakemake.threads,
            made_by=store.provenance(
                "generate_dense",
                {"dtype": snakemake.params.dtype, **snakemake.params.decoding},
            ),
        )
