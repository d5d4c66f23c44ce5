"""All tables that compare the decoding of a variant with that of the dense model.

Decoding is compared step by step (`decoding`), the text as a whole (`wording`), and where a prompt
offers options, which of them is chosen (`options`). All of this is computed from the same forward
passes, so that the model is loaded only once.
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
from prunescope.tracing import decoding, letters, options, prompt_information


def trace_answers(
    dense: Any,
    variant: Variant,
    tokenizer: PreTrainedTokenizerBase,
    answers: Sequence[tuple[Mapping[str, Any], Sequence[int]]],
    settings: decoding.DecodingSettings,
) -> Iterator[dict[str, pa.Table]]:
    """Yield the tables of one answer after another, by table name.

    Parameters
    ----------
    dense : the model that `variant` was made from.
    tokenizer : the tokenizer of both models.
    answers : rows of `dense_answer`, each with the tokens that the variant generated for the same
        prompt.
    settings : seed, temperatures, thresholds of the verdicts on texts, and memory for logits.

    Raises
    ------
    ValueError
        if the edit replaces lm_head: the logits of both models come from a single product.
    """
    unembed = unembedding.output_of(dense)
    if anatomy.lm_head_of(variant.model).weight is not unembed.lm_head.weight:
        raise ValueError("the edit replaces lm_head, which dense and variant share in a trace.")
    ends = prompts.end_of_text(dense, tokenizer)
    log_p_after_others = _log_p_after_others(dense, unembed, answers)
    for (answer, variant_tokens), after_others in zip(answers, log_p_after_others, strict=True):
        states = decoding.states(dense, variant, answer, variant_tokens)
        with finite.named(f"prompt {answer['prompt']}"):
            compared = decoding.compare(
                states, unembed, answer, settings.temperatures, settings.memory_mb, settings.seed
            )
            log_p = compared.dense_log_p
            if list(variant_tokens) != answer["answer_token_ids"]:
                log_p = decoding.log_likelihoods(unembed, states.reread, variant_tokens)
        likelihoods = wording.Likelihoods(
            wording.perplexity(log_p),
            wording.perplexity(compared.dense_log_p),
            None if after_others is None else float(log_p.mean()) - after_others,
        )
        text_row = wording.as_row(
            answer, variant_tokens, likelihoods, tokenizer, ends, settings.thresholds
        )
        tables = decoding.tables_of(answer, variant_tokens, states, compared)
        tables["generated_text"] = pa.Table.from_pylist(
            [text_row], schema=TABLES["generated_text"].schema
        )
        if answer["kind"] == "multiple_choice" and answer["sampling_temperature"] == GREEDY:
            first_logits = compared.first_logits
            tables |= _option_tables(answer, first_logits, settings.temperatures, tokenizer)
        yield tables


def _log_p_after_others(
    dense: Any,
    unembed: unembedding.Unembedding,
    answers: Sequence[tuple[Mapping[str, Any], Sequence[int]]],
) -> list[float | None]:
    """Mean log p per token of each text after other prompts; None for the dense model's own text.

    Parameters
    ----------
    dense, unembed : the dense model and its map from states to logits.
    answers : rows of `dense_answer`, each with the variant's tokens.
    """
    prompt_tokens = {answer["prompt"]: answer["prompt_token_ids"] for answer, _ in answers}
    changed = {
        index: prompt_information.Text(answer["prompt"], tokens)
        for index, (answer, tokens) in enumerate(answers)
        if list(tokens) != answer["answer_token_ids"]
    }
    found = prompt_information.log_p_after_others(
        dense, unembed, prompt_tokens, list(changed.values())
    )
    by_index = dict(zip(changed, found, strict=True))
    return [by_index.get(index) for index in range(len(answers))]


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
    first_logits : (1 + histories, vocab), the logits at step 0, the dense model's first.
    temperatures : the values of T in softmax(z/T).
    tokenizer : the tokenizer of both models.
    """
    prompt_token_ids = answer["prompt_token_ids"]
    option_tokens = {
        letter: options.option_token(tokenizer, prompt_token_ids, letter)
        for letter in letters.options_of(answer["text"])
    }
    variant_logits = first_logits[1 + decoding.HISTORIES.index(decoding.FREE_RUNNING)]
    tables = options.tables_of(
        answer["prompt"], option_tokens, first_logits[0], variant_logits, temperatures, tokenizer
    )
    return dict(zip(("option_trace", "option_agreement", "top_token"), tables, strict=True))
