"""Compare the text of a variant with that of the dense model; no label is needed.

A text is given as token ids. It has at least one token, and it includes the end-of-text token if
the model has stopped by itself. torch is imported only in the functions that read logits, because
the report imports this module and has no model.
"""

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

NGRAM = 4
"""Number of tokens of the n-grams whose recurrence counts as repetition."""

LONGEST_PERIOD = 32
"""Longest phrase, in tokens, whose immediate repetition counts as a loop."""

_LOGITS_PER_CHUNK = 1 << 21
"""Number of logits that are converted to float64 at a time, which takes 16 MB."""


Thresholds = Mapping[str, Mapping[str, float]]
"""Section `texts` in config: the thresholds of the verdicts `degenerate` and `off_prompt`."""


class Wording(NamedTuple):
    """How much a text repeats itself; the fields are columns of `generated_text`."""

    n_tokens: int
    repeated_ngram_share: float
    longest_loop: int
    distinct_1: float
    distinct_2: float | None


class Likelihoods(NamedTuple):
    """How likely the variant's text and the dense text are under the dense model.

    The fields are columns of `generated_text`.

    Attributes
    ----------
    perplexity_under_dense, dense_perplexity : exp of the mean -log p in nats per token, of the
        variant's text and of the dense text.
    prompt_information : mean log p per token of the variant's text after its prompt, minus that
        after other prompts (`prompt_information`), in nats; None if it was not measured.
    """

    perplexity_under_dense: float
    dense_perplexity: float
    prompt_information: float | None


class Measures(NamedTuple):
    """The measurements of both texts from which the verdict follows.

    Attributes
    ----------
    dense, variant : repetition in each text.
    first_divergence : first step at which they differ; None if they are equal.
    perplexity_under_dense, dense_perplexity, prompt_information : as in `Likelihoods`.
    """

    dense: Wording
    variant: Wording
    first_divergence: int | None
    perplexity_under_dense: float
    dense_perplexity: float
    prompt_information: float | None


def first_divergence(dense: Sequence[int], variant: Sequence[int]) -> int | None:
    """First step, from 0, at which two texts differ; None if they are equal.

    If the longer text begins with the whole shorter one, it is the length of the shorter one.
    """
    if list(dense) == list(variant):
        return None
    pairs = enumerate(zip(dense, variant, strict=False))
    shorter = min(len(dense), len(variant))
    return next((step for step, (one, other) in pairs if one != other), shorter)


def equal_share(dense: Sequence[int], variant: Sequence[int]) -> float:
    """Share of the positions of the longer text at which both texts have the same token, 0 to 1."""
    equal = sum(one == other for one, other in zip(dense, variant, strict=False))
    return equal / max(len(dense), len(variant))


def wording(token_ids: Sequence[int]) -> Wording:
    """Measure how much a text repeats itself."""
    return Wording(
        n_tokens=len(token_ids),
        repeated_ngram_share=repeated_ngram_share(token_ids),
        longest_loop=longest_loop(token_ids),
        distinct_1=_distinct(token_ids, 1),
        distinct_2=_distinct(token_ids, 2) if len(token_ids) > 1 else None,
    )


def repeated_ngram_share(token_ids: Sequence[int]) -> float:
    """Share of the 4-grams of a text that have occurred before in it; 0 below four tokens."""
    return 1 - _distinct(token_ids, NGRAM) if len(token_ids) >= NGRAM else 0.0


def _distinct(token_ids: Sequence[int], n: int) -> float:
    """Number of distinct n-grams divided by the number of n-grams (Li et al. 2016).

    The text has at least n tokens.
    """
    ngrams = list(zip(*(token_ids[start:] for start in range(n)), strict=False))
    return len(set(ngrams)) / len(ngrams)


def longest_loop(token_ids: Sequence[int]) -> int:
    """Number of tokens in the longest immediate repetition of a phrase; 0 without repetition.

    A phrase has at most 32 tokens, and only complete phrases count: the result is 4 for
    "a b a b a", and 2 for "a a". If r consecutive tokens equal the tokens one period before them,
    they and the period before them repeat a phrase for r + period tokens.
    """
    ids = np.asarray(token_ids)
    longest = 0
    for period in range(1, min(LONGEST_PERIOD, len(ids) // 2) + 1):
        run = _longest_run(ids[period:] == ids[:-period])
        if run >= period:
            longest = max(longest, (run + period) // period * period)
    return longest


def _longest_run(flags: np.ndarray) -> int:
    """Largest number of consecutive True values, of (n,) bool."""
    ends = np.flatnonzero(np.concatenate(([True], ~flags, [True])))
    return int(np.diff(ends).max()) - 1


def log_likelihoods(z: "Tensor", token_ids: Sequence[int]) -> "Tensor":
    """log p(token) in nats at T = 1, (tokens,) float64.

    Sums are computed in float64, for a few rows at a time.

    Parameters
    ----------
    z : (tokens, vocab), the logits from which each token was chosen.
    token_ids : the tokens.
    """
    import torch

    chosen = torch.as_tensor(token_ids, device=z.device).unsqueeze(-1)
    rows = max(1, _LOGITS_PER_CHUNK // z.shape[-1])
    log_p = [
        part.double().log_softmax(-1).gather(-1, token)
        for part, token in zip(z.split(rows), chosen.split(rows), strict=True)
    ]
    return torch.cat(log_p).squeeze(-1)


def perplexity(log_p: "Tensor") -> float:
    """exp(mean -log p(token)) of a text; infinite if the probability of a token is zero.

    Parameters
    ----------
    log_p : (tokens,), from `log_likelihoods`.
    """
    return float(log_p.mean().neg().exp())


def verdict(measures: Measures, thresholds: Thresholds) -> str:
    """Classify the variant's text as `intact`, `degenerate`, `off-prompt` or `changed`.

    The first of these that fits is the verdict. An intact text has the same tokens as the dense
    text. A degenerate text has a least length, and it either repeats itself much more than the
    dense text, in a loop or by recurring 4-grams, or it is much less likely than the dense text
    under the dense model. An off-prompt text has a least length, too, and its prompt makes it
    hardly more likely than other prompts do.

    Parameters
    ----------
    measures : measurements of both texts.
    thresholds : section `texts` in config.
    """
    if measures.first_divergence is None:
        return "intact"
    if _is_degenerate(measures, thresholds["degenerate"]):
        return "degenerate"
    if _is_off_prompt(measures, thresholds["off_prompt"]):
        return "off-prompt"
    return "changed"


def _is_degenerate(measures: Measures, thresholds: Mapping[str, float]) -> bool:
    dense, variant = measures.dense, measures.variant
    if variant.n_tokens < thresholds["least_tokens"]:
        return False
    loop_share = variant.longest_loop / variant.n_tokens - dense.longest_loop / dense.n_tokens
    ngram_share = variant.repeated_ngram_share - dense.repeated_ngram_share
    perplexity_ratio = measures.perplexity_under_dense / measures.dense_perplexity
    return (
        loop_share > thresholds["longest_loop_share"]
        or ngram_share > thresholds["repeated_ngram_share"]
        or perplexity_ratio > thresholds["perplexity_ratio"]
    )


def _is_off_prompt(measures: Measures, thresholds: Mapping[str, float]) -> bool:
    information = measures.prompt_information
    return (
        information is not None
        and measures.variant.n_tokens >= thresholds["least_tokens"]
        and information <= thresholds["prompt_information"]
    )


def as_row(
    answer: Mapping[str, Any],
    variant_token_ids: Sequence[int],
    likelihoods: Likelihoods,
    tokenizer: "PreTrainedTokenizerBase",
    ends: Sequence[int],
    thresholds: Thresholds,
) -> dict[str, object]:
    """A row of `generated_text`.

    Parameters
    ----------
    answer : row of `dense_answer`.
    variant_token_ids : the variant's text for the same prompt.
    likelihoods : likelihoods of both texts.
    tokenizer : tokenizer of both models.
    ends : tokens at which the models stop.
    thresholds : section `texts` in config.
    """
    dense_token_ids = answer["answer_token_ids"]
    measures = Measures(
        wording(dense_token_ids),
        wording(variant_token_ids),
        first_divergence(dense_token_ids, variant_token_ids),
        *likelihoods,
    )
    variant_text = _decoded(variant_token_ids, tokenizer)
    equal, end = (
        _n_characters(variant_text, variant_token_ids[:count], tokenizer)
        for count in _divergence_bounds(measures.first_divergence, len(variant_token_ids))
    )
    return {
        "prompt": answer["prompt"],
        "kind": answer["kind"],
        "sampling_temperature": answer["sampling_temperature"],
        "dense_text": _decoded(dense_token_ids, tokenizer),
        "variant_text": variant_text,
        "dense_token_ids": list(dense_token_ids),
        "variant_token_ids": list(variant_token_ids),
        "stopped": variant_token_ids[-1] in ends,
        "first_divergence": measures.first_divergence,
        "equal_characters": equal,
        "parted_characters": end - equal,
        "equal_share": equal_share(dense_token_ids, variant_token_ids),
        **measures.variant._asdict(),
        **likelihoods._asdict(),
        "verdict": (
            "empty"
            if is_empty(variant_token_ids, tokenizer) and not is_empty(dense_token_ids, tokenizer)
            else verdict(measures, thresholds)
        ),
    }


def is_empty(token_ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether a text holds nothing but white space and special tokens.

    Parameters
    ----------
    token_ids : tokens of the text.
    tokenizer : tokenizer of the model.
    """
    return not _decoded(token_ids, tokenizer).strip()


def _divergence_bounds(first_divergence: int | None, n_tokens: int) -> tuple[int, int]:
    """Number of tokens before the first one that differs, and up to and including it.

    If no token differs, both are the number of all tokens.
    """
    if first_divergence is None:
        return n_tokens, n_tokens
    return first_divergence, first_divergence + 1


def _n_characters(text: str, token_ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> int:
    """Number of characters of `text` to which its first tokens alone decode.

    A token may end within a character. The tokens up to it then decode to a replacement character,
    which is not part of the text.
    """
    beginning = _decoded(token_ids, tokenizer)
    pairs = zip(beginning, text, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _decoded(token_ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> str:
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))


_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of invisible characters: controls, format characters (bidirectional or of zero
width), surrogates, private and unassigned code points, line and paragraph separators."""

_INVISIBLE_NAMES = re.compile("FILLER|JOINER|VARIATION SELECTOR|VOWEL INHERENT")
"""Parts of the names of invisible letters and marks (Default_Ignorable_Code_Point)."""

_DELETE, _PICTURES, _DELETE_PICTURE = 0x7F, 0x2400, "␡"


def visible(text: str) -> str:
    """Model output in which every invisible character is replaced by a visible one.

    C0 controls and DEL become their pictures (ESC is ␛), others become their code points, such as
    ⟨U+202E⟩. Newlines are left as they are. This neutralises terminal escapes and bidirectional
    overrides; HTML escaping is left to the caller.
    """
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character == "\n" or (character.isascii() and character.isprintable()):
        return character
    code = ord(character)
    if code < ord(" "):
        return chr(_PICTURES + code)
    if code == _DELETE:
        return _DELETE_PICTURE
    is_invisible = unicodedata.category(character) in _INVISIBLE_CATEGORIES or (
        _INVISIBLE_NAMES.search(unicodedata.name(character, ""))
    )
    return f"⟨U+{code:04X}⟩" if is_invisible else character
