"""The options of a multiple-choice prompt: their tokens, and how a variant's choice differs.

All values come from step 0, the logits at the last prompt token, which predict the first token of
the answer. A single row of logits is small, so everything is computed in float64.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from prunescope.measures import metrics
from prunescope.model import prompts, tokenization
from prunescope.model.unembedding import probabilities
from prunescope.progress import JobError
from prunescope.tables.schemas import TABLES

_UNMERGED = "\n"
"""A context that never merges with a letter, for prompts whose last token would."""

_ASKED, _ANSWER = "user", "assistant"


def option_token(
    tokenizer: PreTrainedTokenizerBase, prompt_token_ids: Sequence[int], letter: str
) -> int:
    """The token of an option's letter at the start of the answer.

    It is the token that the tokenizer gives the letter directly after the prompt: " A" if a space
    separates prompt and answer, and "A" otherwise (see `_space`). The tokens of the prompt do not
    change: if the letter would merge with the last of them (for example, if the prompt ends in a
    space and " A" is one token), the token of the bare letter is used. If the tokenizer splits " A"
    into " " and "A", all options share the first of the two, so the second is used.

    Parameters
    ----------
    tokenizer : the tokenizer of the model.
    prompt_token_ids : token ids of the rendered prompt.
    letter : the letter of the option.

    Raises
    ------
    ValueError
        if the tokenizer has no token for the bare letter.
    """
    text = str(tokenizer.decode(list(prompt_token_ids), clean_up_tokenization_spaces=False))
    answer = _space(tokenizer, text, letter) + letter
    for context in (text, _UNMERGED):
        context_ids, answered_ids = (
            tokenization.template_ids(tokenizer, context),
            tokenization.template_ids(tokenizer, context + answer),
        )
        n_context = len(context_ids)
        if answered_ids[:n_context] == context_ids and len(answered_ids) > n_context:
            token = answered_ids[-1]
            if str(tokenizer.decode([token])).strip() == letter:
                return token
    answer_tokens = tokenizer.convert_ids_to_tokens(tokenization.template_ids(tokenizer, answer))
    raise ValueError(
        f"{type(tokenizer).__name__} {tokenizer.name_or_path!r}: there is no token for option "
        f"{letter!r} after {text[-40:]!r}: {answer!r} is split into "
        f"{answer_tokens}, none of them the letter alone. Mark the options of this prompt by other "
        "letters."
    )


def _space(tokenizer: PreTrainedTokenizerBase, text: str, letter: str) -> str:
    """The white space between a prompt and the letter that answers it.

    With a chat template, it is the white space of the template, on which the model was trained.
    Without one, it is a space as between words. There is none if the prompt ends in a space, in an
    opening bracket or quote, or in a script that uses no spaces (wide characters).
    """
    if tokenizer.chat_template is not None:
        as_content = prompts.content_form(tokenizer)
        question: list[dict[str, Any]] = [{"role": _ASKED, "content": as_content("?")}]
        conversation = [*question, {"role": _ANSWER, "content": as_content(letter)}]
        prompt = prompts.in_template(tokenizer, question, add_generation_prompt=True)
        try:
            rendered = prompts.in_template(tokenizer, conversation)
        except JobError:  # the template renders user messages only, so the space is unknown
            rendered = ""
        space, letter_found, _ = rendered.removeprefix(prompt).partition(letter)
        if rendered.startswith(prompt) and letter_found and not space.strip():
            return space
    last = text[-1:]
    opens = unicodedata.category(last) in {"Ps", "Pi"} if last else True
    no_space = opens or last.isspace() or unicodedata.east_asian_width(last) in "WF"
    return "" if no_space else " "


def tables_of(
    prompt: str,
    options: Mapping[str, int],
    z_dense: Tensor,
    z_variant: Tensor,
    temperatures: Sequence[float],
    tokenizer: PreTrainedTokenizerBase,
    top: int = 10,
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Tables `option_trace`, `option_agreement` and `top_token` of one prompt.

    Parameters
    ----------
    prompt : id of the prompt in the config.
    options : letter -> token id, in the order of the prompt.
    z_dense, z_variant : (vocab,), logits at step 0, of any dtype and device.
    temperatures : the values of T in softmax(z/T).
    tokenizer : the tokenizer of both models.
    top : number of most likely tokens listed per model.
    """
    dense, variant = (z.detach().to("cpu", torch.float64) for z in (z_dense, z_variant))
    rows = {
        "option_trace": _option_rows(options, dense, variant, temperatures),
        "option_agreement": _agreement_rows(options, dense, variant, temperatures),
        "top_token": _top_rows(dense, variant, tokenizer, top),
    }
    trace, agreement, tokens = (
        pa.Table.from_pylist(
            [{"prompt": prompt, **row} for row in each], schema=TABLES[table].schema
        )
        for table, each in rows.items()
    )
    return trace, agreement, tokens


def ranking(values: Tensor) -> Tensor:
    """Indices of the values, largest first, (n,) -> (n,) int64; equal values keep their order."""
    return values.argsort(descending=True, stable=True)


def _option_rows(
    options: Mapping[str, int], dense: Tensor, variant: Tensor, temperatures: Sequence[float]
) -> Iterator[dict[str, object]]:
    """One row per temperature and option; shares are p renormalised over the options."""
    tokens = list(options.values())
    for temperature in temperatures:
        columns: dict[str, list[float]] = {}
        for side, z in (("dense", dense), ("variant", variant)):
            log_p = (z / temperature).log_softmax(-1)[tokens]
            columns[f"p_{side}"] = log_p.exp().tolist()
            columns[f"log_likelihood_{side}"] = log_p.tolist()
            columns[f"share_{side}"] = probabilities(z[tokens], temperature).tolist()
            columns[f"rank_{side}"] = ranking(z[tokens]).argsort().tolist()
        for index, (option, token) in enumerate(options.items()):
            measured = {name: values[index] for name, values in columns.items()}
            yield {"option": option, "token": token, "temperature": temperature, **measured}


def _agreement_rows(
    options: Mapping[str, int], dense: Tensor, variant: Tensor, temperatures: Sequence[float]
) -> Iterator[dict[str, object]]:
    """One row per temperature and scope; `options` is a softmax over their logits only."""
    tokens = list(options.values())
    scopes = {"vocabulary": (dense, variant), "options": (dense[tokens], variant[tokens])}
    for temperature in temperatures:
        for scope, (z, z_variant) in scopes.items():
            p, q = probabilities(z, temperature), probabilities(z_variant, temperature)
            kl, _ = metrics.kl_in_float64(z[None], (z_variant - z)[None], temperature)
            yield {
                "temperature": temperature,
                "scope": scope,
                "angular_deviation": metrics.angular_deviation(p, q).item(),
                "kl_divergence": kl.item(),
                "argmax_survived": bool(ranking(z)[0] == ranking(z_variant)[0]),
            }


def _top_rows(
    dense: Tensor, variant: Tensor, tokenizer: PreTrainedTokenizerBase, top: int
) -> Iterator[dict[str, object]]:
    """One row per model and rank, most likely first, at T = 1."""
    p, q = probabilities(dense, 1), probabilities(variant, 1)
    for side, z in (("dense", dense), ("variant", variant)):
        for rank, token in enumerate(ranking(z)[:top].tolist()):
            yield {
                "side": side,
                "rank": rank,
                "token": token,
                "text": tokenizer.decode([token]),
                "p_dense": p[token].item(),
                "p_variant": q[token].item(),
            }
