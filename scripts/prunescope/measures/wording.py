"""What a variant writes beside what dense writes, measured from token ids without any label.

A text is its token ids, end of text included where the model stopped by itself; it has at least
one token. Imports torch only where logits are read: the report shows texts without a model.
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
"""Tokens of a phrase whose return counts as repetition."""

LONGEST_PERIOD = 32
"""Longest phrase, in tokens, whose immediate repetition counts as a loop."""

_LOGITS_AT_ONCE = 1 << 21
"""Logits of a chunk of rows: 16 MB in float64."""


class Wording(NamedTuple):
    """How a text repeats itself, in the columns of `generated_text`."""

    n_tokens: int
    repeated_ngram_share: float
    longest_loop: int
    distinct_1: float
    distinct_2: float | None


class Perplexities(NamedTuple):
    """How unlikely both texts are, by the dense model: of the variant's text and of dense's own.

    In nats per token, exponentiated; in the columns of `generated_text`.
    """

    perplexity_under_dense: float
    dense_perplexity: float


class Measures(NamedTuple):
    """What a verdict rests on: how both texts are worded, where they part, how likely they are.

    Perplexities are the dense model's, in nats a token exponentiated.
    """

    dense: Wording
    variant: Wording
    first_divergence: int | None
    perplexity_under_dense: float
    dense_perplexity: float


def first_divergence(dense: Sequence[int], variant: Sequence[int]) -> int | None:
    """First step, from 0, at which two texts differ; None where they are equal.

    Where one begins with the whole other, it is the length of the shorter.
    """
    if list(dense) == list(variant):
        return None
    pairs = enumerate(zip(dense, variant, strict=False))
    shorter = min(len(dense), len(variant))
    return next((step for step, (one, other) in pairs if one != other), shorter)


def equal_share(dense: Sequence[int], variant: Sequence[int]) -> float:
    """Share of positions with the same token, of the longer text's; in [0, 1]."""
    equal = sum(one == other for one, other in zip(dense, variant, strict=False))
    return equal / max(len(dense), len(variant))


def wording(token_ids: Sequence[int]) -> Wording:
    """How a text repeats itself."""
    return Wording(
        n_tokens=len(token_ids),
        repeated_ngram_share=repeated_ngram_share(token_ids),
        longest_loop=longest_loop(token_ids),
        distinct_1=_distinct(token_ids, 1),
        distinct_2=_distinct(token_ids, 2) if len(token_ids) > 1 else None,
    )


def repeated_ngram_share(token_ids: Sequence[int]) -> float:
    """Share of a text's 4-grams that occurred before in it; 0 below four tokens."""
    return 1 - _distinct(token_ids, NGRAM) if len(token_ids) >= NGRAM else 0.0


def _distinct(token_ids: Sequence[int], n: int) -> float:
    """Different n-grams over n-grams (Li et al. 2016), of a text of at least n tokens."""
    ngrams = list(zip(*(token_ids[start:] for start in range(n)), strict=False))
    return len(set(ngrams)) / len(ngrams)


def longest_loop(token_ids: Sequence[int]) -> int:
    """Most tokens in immediate repetitions of one phrase of at most 32 tokens; 0 without any.

    Whole phrases count, from the second on: "a b a b a" is 4, "a a" 2. A run of r tokens equal
    to those one period before is the tail of r + period tokens of that period.
    """
    ids = np.asarray(token_ids)
    longest = 0
    for period in range(1, min(LONGEST_PERIOD, len(ids) // 2) + 1):
        run = _longest_run(ids[period:] == ids[:-period])
        if run >= period:
            longest = max(longest, (run + period) // period * period)
    return longest


def _longest_run(holds: np.ndarray) -> int:
    """Most consecutive True, (n,) bool."""
    ends = np.flatnonzero(np.concatenate(([True], ~holds, [True])))
    return int(np.diff(ends).max()) - 1


def log_likelihoods(z: "Tensor", token_ids: Sequence[int]) -> "Tensor":
    """log p(token) in nats at T = 1, (tokens,) float64.

    Parameters
    ----------
    z : (tokens, vocab), the logits that each token was chosen from. Summed in float64, a few
        rows at a time.
    """
    import torch

    chosen = torch.as_tensor(token_ids, device=z.device).unsqueeze(-1)
    rows = max(1, _LOGITS_AT_ONCE // z.shape[-1])
    log_p = [
        part.double().log_softmax(-1).gather(-1, token)
        for part, token in zip(z.split(rows), chosen.split(rows), strict=True)
    ]
    return torch.cat(log_p).squeeze(-1)


def perplexity(log_p: "Tensor") -> float:
    """exp(mean -log p(token)) of a text, infinite where a token is impossible.

    Parameters
    ----------
    log_p : (tokens,), from `log_likelihoods`.
    """
    return float(log_p.mean().neg().exp())


def verdict(measures: Measures, thresholds: Mapping[str, float]) -> str:
    """`intact`, `changed` or `degenerate`, by `texts: degenerate` in config; no label needed.

    Intact is dense's text, token for token. Degenerate is one that is long enough to tell and
    either repeats itself beyond what dense does, by a loop or by returning 4-grams, or is far
    less likely than dense's text, both read by dense. Everything else is changed.
    """
    dense, variant = measures.dense, measures.variant
    if measures.first_divergence is None:
        return "intact"
    if variant.n_tokens < thresholds["least_tokens"]:
        return "changed"
    loops = variant.longest_loop / variant.n_tokens - dense.longest_loop / dense.n_tokens
    repeats = variant.repeated_ngram_share - dense.repeated_ngram_share
    unlikelier = measures.perplexity_under_dense / measures.dense_perplexity
    degenerate = (
        loops > thresholds["longest_loop_share"]
        or repeats > thresholds["repeated_ngram_share"]
        or unlikelier > thresholds["perplexity_ratio"]
    )
    return "degenerate" if degenerate else "changed"


def as_row(
    answer: Mapping[str, Any],
    variant_token_ids: Sequence[int],
    perplexities: Perplexities,
    tokenizer: "PreTrainedTokenizerBase",
    ends: Sequence[int],
    thresholds: Mapping[str, float],
) -> dict[str, object]:
    """One row of `generated_text`.

    Parameters
    ----------
    answer : a row of `dense_answer`.
    variant_token_ids : what the variant wrote in its place.
    perplexities : of both texts.
    tokenizer : of both models.
    ends : tokens at which the model stops.
    thresholds : `texts: degenerate` in config.
    """
    dense_token_ids = answer["answer_token_ids"]
    measures = Measures(
        wording(dense_token_ids),
        wording(variant_token_ids),
        first_divergence(dense_token_ids, variant_token_ids),
        *perplexities,
    )
    variant_text = _decoded(variant_token_ids, tokenizer)
    equal, end = (
        _characters_of(variant_text, variant_token_ids[:count], tokenizer)
        for count in parting(measures.first_divergence, len(variant_token_ids))
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
        **perplexities._asdict(),
        "verdict": verdict(measures, thresholds),
    }


def parting(first_divergence: int | None, n_tokens: int) -> tuple[int, int]:
    """Tokens before the first that differs, and with it; all of them where none does."""
    if first_divergence is None:
        return n_tokens, n_tokens
    return first_divergence, first_divergence + 1


def _characters_of(
    text: str, token_ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase"
) -> int:
    """Characters of `text` that its first tokens alone decode to.

    A token may end within a character: what it makes alone is then no part of the text.
    """
    alone = _decoded(token_ids, tokenizer)
    pairs = zip(alone, text, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _decoded(token_ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> str:
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))


_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories without a mark of their own: controls, bidi, zero width, private, unassigned,
line separators."""

_UNSEEN_NAMES = re.compile("FILLER|JOINER|VARIATION SELECTOR|VOWEL INHERENT")
"""Names of the letters and marks that are drawn as nothing (Default_Ignorable_Code_Point)."""

_DELETE, _PICTURES, _DELETE_PICTURE = 0x7F, 0x2400, "␡"


def visible(text: str) -> str:
    """Model output as it may be shown to a person: every character that is not drawn is named.

    C0 controls and DEL become their pictures (ESC is ␛), others ⟨U+202E⟩; newlines stay. It
    ends no terminal escape and turns no direction. What HTML means by < and & is not its matter.
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
    unseen = unicodedata.category(character) in _UNSEEN or _UNSEEN_NAMES.search(
        unicodedata.name(character, "")
    )
    return f"⟨U+{code:04X}⟩" if unseen else character
