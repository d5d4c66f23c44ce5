"""Trace a whole variant against dense: step by step under four histories, options, texts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import torch

from prunescope import finite, progress
from prunescope.machine import products, runtime
from prunescope.measures import wording
from prunescope.model import anatomy, edits, loading, prompts, unembedding
from prunescope.model.sampling import GREEDY
from prunescope.storage import store
from prunescope.tables.schemas import TABLES
from prunescope.tracing import decoding, letters, options


def trace_decoding(
    model_dir: str,
    edit_file: str,
    answers_file: str,
    table_files: Mapping[str, str],
    max_new_tokens: int,
    seed: int,
    temperatures: Sequence[float],
    thresholds: Mapping[str, float],
    memory_mb: float,
    dtype: str,
    threads: int,
    made_by: Mapping[str, object],
    prompting: Mapping[str, Any] | None = None,
) -> None:
    """Write every table of one variant's decoding, answer by answer, with one model load.

    Parameters
    ----------
    table_files : table -> file, for each of the tables `trace_answers` yields.
    """
    device = runtime.prepare(threads)
    dense = loading.load(model_dir, dtype, device)
    tokenizer = loading.load_tokenizer(model_dir, prompting)
    edit = edits.read(edit_file)
    variant = loading.apply_edit(dense, edit)
    products.order_weights(dense, variant)
    answers = store.read(answers_file, "dense_answer").to_pylist()
    asked = [
        prompts.Asked(each["prompt"], each["sampling_temperature"], each["prompt_token_ids"])
        for each in answers
    ]
    progress.LOG.info("decoding %d answers in one batch", len(asked))
    written = prompts.answers(variant, tokenizer, asked, max_new_tokens, seed)
    traced = trace_answers(
        dense,
        variant,
        edit,
        tokenizer,
        list(zip(answers, written, strict=True)),
        temperatures,
        thresholds,
        memory_mb,
        seed,
    )
    with ExitStack() as stack:
        files = {
            table: stack.enter_context(store.writer(file, table, made_by))
            for table, file in table_files.items()
        }
        for tables in progress.track(traced, "answers traced", len(answers)):
            for table, rows in tables.items():
                files[table].write(rows)


def trace_answers(
    dense: Any,
    variant: Any,
    edit: edits.Edit,
    tokenizer: Any,
    answers: Sequence[tuple[Mapping[str, Any], Sequence[int]]],
    temperatures: Sequence[float],
    thresholds: Mapping[str, float],
    memory_mb: float,
    seed: int,
) -> Iterator[dict[str, pa.Table]]:
    """Rows of every table for one answer after another.

    Parameters
    ----------
    answers : rows of `dense_answer`, each with the tokens the variant wrote in its place.
    thresholds : `texts: degenerate` in config.

    Raises ValueError for an edit of lm_head: one product serves both models.
    """
    unembed = unembedding.output_of(dense)
    if anatomy.lm_head_of(variant).weight is not unembed.lm_head.weight:
        raise ValueError("the edit replaces lm_head, which dense and variant share in a trace.")
    ends = prompts.end_of_text(dense, tokenizer)
    for answer, own in answers:
        at = decoding.states(dense, variant, edit, answer, own)
        with finite.named(f"prompt {answer['prompt']}"):
            compared = decoding.compare(at, unembed, answer, temperatures, memory_mb, seed)
            log_p = compared.dense_log_p
            if list(own) != answer["answer_token_ids"]:
                log_p = decoding.log_likelihoods(unembed, at.reread, own)
        text = wording.as_row(
            answer["prompt"],
            answer["kind"],
            answer["sampling_temperature"],
            answer["answer_token_ids"],
            own,
            wording.perplexity(log_p),
            wording.perplexity(compared.dense_log_p),
            tokenizer,
            ends,
            thresholds,
        )
        tables = decoding.rows_of(answer, own, at, compared, temperatures)
        tables["generated_text"] = pa.Table.from_pylist(
            [text], schema=TABLES["generated_text"].schema
        )
        if answer["kind"] == "multiple_choice" and answer["sampling_temperature"] == GREEDY:
            tables |= option_tables(answer, compared.first_logits, temperatures, tokenizer)
        yield tables


def option_tables(
    answer: Mapping[str, Any],
    first_logits: torch.Tensor,
    temperatures: Sequence[float],
    tokenizer: Any,
) -> dict[str, pa.Table]:
    """Tables `option_trace`, `option_agreement` and `top_token` of one multiple-choice prompt.

    Parameters
    ----------
    first_logits : (1 + histories, vocab) at step 0, dense first.
    """
    prompt_token_ids = answer["prompt_token_ids"]
    of_letters = {
        letter: options.option_token(tokenizer, prompt_token_ids, letter)
        for letter in letters.options_of(answer["text"])
    }
    own = first_logits[1 + decoding.HISTORIES.index(decoding.FREE_RUNNING)]
    rows = options.rows_of(
        answer["prompt"], of_letters, first_logits[0], own, temperatures, tokenizer
    )
    return dict(zip(("option_trace", "option_agreement", "top_token"), rows, strict=True))


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    settings = {name: snakemake.params[name] for name in ("seed", "temperatures", "dtype")}
    with progress.job("trace_decoding", snakemake.log[0]):
        trace_decoding(
            model_dir=snakemake.input.model,
            edit_file=snakemake.input.edit,
            answers_file=snakemake.input.answers,
            table_files=dict(snakemake.output.items()),
            max_new_tokens=snakemake.params.max_new_tokens,
            thresholds=snakemake.params.thresholds,
            memory_mb=snakemake.resources.logits_mb,
            threads=snakemake.config["threads"],
            prompting=snakemake.params.prompting,
            made_by=store.provenance(
                "trace_decoding", settings | {"max_new_tokens": snakemake.params.max_new_tokens}
            ),
            **settings,
        )
