"""Rows of every table that a whole variant's decoding gives, one answer after another.

Decoding is compared step by step (`decoding`), the text as a whole (`wording`), and where a prompt
offers options, which of them is chosen (`options`). All of it is read from the same passes, so one
load of the model serves every table.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from transformers import PreTrainedTokenizerBase

from prunescope import finite
from prunescope.measures import wording
from prunescope.model import anatomy, prompts, unembedding
from prunescope.model.sampling import GREEDY
from prunescope.model.variant import Variant
from prunescope.tables.schemas import TABLES
from prunescope.tracing import decoding, letters, options


def trace_answers(
    dense: Any,
    variant: Variant,
    tokenizer: PreTrainedTokenizerBase,
    answers: Sequence[tuple[Mapping[str, Any], Sequence[int]]],
    settings: decoding.Settings,
) -> Iterator[dict[str, pa.Table]]:
    """Rows of every table for one answer after another.

    Parameters
    ----------
    dense : the model that `variant` was made from.
    tokenizer : of both.
    answers : rows of `dense_answer`, each with the tokens the variant wrote in its place.
    settings : seed, temperatures, thresholds of a verdict and memory for logits.

    Raises ValueError for an edit of lm_head: one product serves both models.
    """
    unembed = unembedding.output_of(dense)
    if anatomy.lm_head_of(variant.model).weight is not unembed.lm_head.weight:
        raise ValueError("the edit replaces lm_head, which dense and variant share in a trace.")
    ends = prompts.end_of_text(dense, tokenizer)
    for answer, own in answers:
        at = decoding.states(dense, variant, answer, own)
        with finite.named(f"prompt {answer['prompt']}"):
            compared = decoding.compare(
                at, unembed, answer, settings.temperatures, settings.memory_mb, settings.seed
            )
            log_p = compared.dense_log_p
            if list(own) != answer["answer_token_ids"]:
                log_p = decoding.log_likelihoods(unembed, at.reread, own)
        perplexities = wording.Perplexities(
            wording.perplexity(log_p), wording.perplexity(compared.dense_log_p)
        )
        text = wording.as_row(answer, own, perplexities, tokenizer, ends, settings.thresholds)
        tables = decoding.rows_of(answer, own, at, compared)
        tables["generated_text"] = pa.Table.from_pylist(
            [text], schema=TABLES["generated_text"].schema
        )
        if answer["kind"] == "multiple_choice" and answer["sampling_temperature"] == GREEDY:
            first = compared.first_logits
            tables |= _option_tables(answer, first, settings.temperatures, tokenizer)
        yield tables


def _option_tables(
    answer: Mapping[str, Any],
    first_logits: torch.Tensor,
    temperatures: Sequence[float],
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, pa.Table]:
    """Tables `option_trace`, `option_agreement` and `top_token` of one multiple-choice prompt.

    Parameters
    ----------
    answer : a row of `dense_answer`.
    first_logits : (1 + histories, vocab) at step 0, dense first.
    temperatures : T of softmax(z/T).
    tokenizer : of both models.
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
