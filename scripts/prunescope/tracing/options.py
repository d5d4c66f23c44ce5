"""Options of a multiple-choice prompt: their tokens, and how the choice shifts.

Everything is read at step 0, where the answer begins: the logits that follow the prompt's last
token. One row of logits is small, so all of it is float64.
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
"""A context that no letter merges with, for prompts whose own last token would."""

_ASKED, _ANSWER = "user", "assistant"


def option_token(
    tokenizer: PreTrainedTokenizerBase, prompt_token_ids: Sequence[int], letter: str
) -> int:
    """The token that stands for an option's letter where the answer begins.

    It is what the tokenizer makes of the letter right after this prompt: " A" where a space
    stands between prompt and answer, "A" where not (`_space`). The prompt's tokens stay as the
    model has read them: where the letter would merge into the last of them (a prompt that ends
    in a space, whose " " and "A" would be one token), the letter alone is meant. Where the
    tokenizer splits " A" into " " and "A", options share the first token; it is the second, at
    which they differ. Raises ValueError where no token is the letter.
    """
    text = str(tokenizer.decode(list(prompt_token_ids), clean_up_tokenization_spaces=False))
    answer = _space(tokenizer, text, letter) + letter
    for context in (text, _UNMERGED):
        before, after = (
            tokenization.template_ids(tokenizer, context),
            tokenization.template_ids(tokenizer, context + answer),
        )
        kept = len(before)
        if after[:kept] == before and len(after) > kept:
            token = after[-1]
            if str(tokenizer.decode([token])).strip() == letter:
                return token
    written = tokenizer.convert_ids_to_tokens(tokenization.template_ids(tokenizer, answer))
    raise ValueError(
        f"{type(tokenizer).__name__} {tokenizer.name_or_path!r}: asked for the token of option "
        f"{letter!r} after {text[-40:]!r}, but it writes {answer!r} as "
        f"{written}, none of them the letter alone. Mark the options of this prompt by other "
        "letters."
    )


def _space(tokenizer: PreTrainedTokenizerBase, text: str, letter: str) -> str:
    """Space between a prompt and the letter that answers it.

    What the chat template puts there, for the model was trained on it. Without a template, one
    space as between words, unless the prompt ends in a space, in an opening bracket or quote, or
    in a wide script, which writes none.
    """
    if tokenizer.chat_template is not None:
        as_content = prompts.content_form(tokenizer)
        asked: list[dict[str, Any]] = [{"role": _ASKED, "content": as_content("?")}]
        answered = [*asked, {"role": _ANSWER, "content": as_content(letter)}]
        prompt = prompts.in_template(tokenizer, asked, add_generation_prompt=True)
        try:
            whole = prompts.in_template(tokenizer, answered)
        except JobError:  # a template for questions only says nothing about the space
            whole = ""
        between, written, _ = whole.removeprefix(prompt).partition(letter)
        if whole.startswith(prompt) and written and not between.strip():
            return between
    last = text[-1:]
    opens = unicodedata.category(last) in {"Ps", "Pi"} if last else True
    joined = opens or last.isspace() or unicodedata.east_asian_width(last) in "WF"
    return "" if joined else " "


def rows_of(
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
    prompt : its id in config.
    options : letter -> token id, in the prompt's order.
    z_dense, z_variant : (vocab,), logits at step 0, of any dtype and device.
    top : how many of each side's likeliest tokens.
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
    """Places of the values, largest first, (n,) -> (n,) int64; of equal ones the first leads."""
    return values.argsort(descending=True, stable=True)


def _option_rows(
    options: Mapping[str, int], dense: Tensor, variant: Tensor, temperatures: Sequence[float]
) -> Iterator[dict[str, object]]:
    """One row per temperature and option. Shares are p renormalised among the options."""
    tokens = list(options.values())
    for temperature in temperatures:
        columns: dict[str, list[float]] = {}
        for side, z in (("dense", dense), ("variant", variant)):
            log_p = (z / temperature).log_softmax(-1)[tokens]
            columns[f"p_{side}"] = log_p.exp().tolist()
            columns[f"log_likelihood_{side}"] = log_p.tolist()
            columns[f"share_{side}"] = probabilities(z[tokens], temperature).tolist()
            columns[f"rank_{side}"] = ranking(z[tokens]).argsort().tolist()
        for place, (option, token) in enumerate(options.items()):
            measured = {name: values[place] for name, values in columns.items()}
            yield {"option": option, "token": token, "temperature": temperature, **measured}


def _agreement_rows(
    options: Mapping[str, int], dense: Tensor, variant: Tensor, temperatures: Sequence[float]
) -> Iterator[dict[str, object]]:
    """One row per temperature and scope. Options alone are a softmax over their logits alone."""
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
    """One row per side and rank, likeliest first, T = 1."""
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
