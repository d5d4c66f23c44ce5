"""One reading of text: token ids are those of the checkpoint's tokenizer.json, everywhere.

transformers may build a class of its own over a tokenizer.json, with another way to split text;
then calibration text and prompts would be two tokenizations of one language. Here the file decides.
A special token ends a turn or a text only where a template or the tokenizer puts it: in a user's
text its letters are text.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from prunescope.progress import JobError

Encode = Callable[[Sequence[str]], list[list[int]]]

PROBES = (
    "The sea is salt because rivers carry what they wash out of the rocks. 1. Of 12,480 grains\n\n",
    "def mean(xs):\n    return sum(xs) / len(xs)  # 3.14\n\n\n\ttabs   and   spaces ",
    "a list:\n\n1. one\n\n12 wagons, 2026-01-31, 0x1F, 1e-5, $60.00\r\n",
    "Das Wasser fließt ins Meer; naïve café, Straße, ½ ℓ",
    "海水为什么是咸的？因为河流把岩石里的盐带进了海里。",
    "لماذا البحر مالح؟ \u200fمرحبا",
    "😀😀 👩‍👩‍👧 Z̷a̴l̶g̵o",
    "Which gas do plants take from the air? Answer with one letter: A) oxygen B) carbon dioxide",
)
"""Texts that tokenizations differ on: prose, code, blank lines, digits, other scripts, emoji."""


@dataclass(frozen=True)
class Prompting:
    """How a chat template renders a prompt, the same on every day.

    Attributes
    ----------
    date : what a template that asks for today's date is told, YYYY-MM-DD.
    chat_template_kwargs : variables given to the template.
    """

    date: str = "2026-01-01"
    chat_template_kwargs: Mapping[str, Any] = field(
        default_factory=lambda: {"enable_thinking": False, "thinking": False}
    )


def load(
    model_dir: str | Path, prompting: Mapping[str, Any] | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model's folder, padding on the left as batched decoding needs it.

    Special tokens and chat template are those the folder names. A tokenizer without a padding
    token pads with its end of text or, without that, with token 0: padding is masked.

    Parameters
    ----------
    prompting : fields of `Prompting`, which `prompts.rendered` reads off the tokenizer.
    """
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(
        model_dir,
        local_files_only=True,
        padding_side="left",
        split_special_tokens=True,
        trust_remote_code=False,
    )
    tokenizer._tokenizer.no_truncation()
    tokenizer._tokenizer.no_padding()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    tokenizer.prompting = Prompting(**(prompting or {}))
    return tokenizer


def raw(tokenizer_file: str | Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json, nothing cut or padded, special tokens read as such."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encoder(tokenizer_file: str | Path) -> Encode:
    """Users' texts to ids: special tokens in them are text, those around them are added."""
    tokenizer = raw(tokenizer_file)
    tokenizer.encode_special_tokens = True
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]


def separator(model_dir: str | Path) -> int | None:
    """The token between two texts: the tokenizer's end of text, else the model's, else None."""
    token: Any = load(model_dir).eos_token_id
    for name in ("generation_config.json", "config.json"):
        file = Path(model_dir) / name
        if token is None and file.is_file():
            token = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
    return None if token is None else int(token[0] if isinstance(token, list) else token)


def text_ids(
    tokenizer: PreTrainedTokenizerBase, text: str, *, add_special_tokens: bool = False
) -> list[int]:
    """Token ids of a user's text, in which no string is a special token."""
    return _ids(tokenizer, text, True, add_special_tokens)


def template_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of what a template or a decoded prompt holds: its special tokens are special."""
    return _ids(tokenizer, text, False, False)


def _ids(
    tokenizer: PreTrainedTokenizerBase, text: str, split: bool, add_special_tokens: bool
) -> list[int]:
    found = tokenizer(text, add_special_tokens=add_special_tokens, split_special_tokens=split)
    return list(found["input_ids"])


def ids_around(tokenizer: PreTrainedTokenizerBase, rendered: str, text: str) -> list[int]:
    """Token ids of a rendered template with a user's text in it.

    The template's special tokens are special. Where the text holds strings that look like them, it
    is tokenized by itself, and they are not.
    """
    if not any(special in text for special in specials(tokenizer)):
        return template_ids(tokenizer, rendered)
    before, found, after = rendered.partition(text)
    assert found  # prompts.rendered has seen to it
    parts = (
        template_ids(tokenizer, before),
        text_ids(tokenizer, text),
        template_ids(tokenizer, after),
    )
    return [token for part in parts for token in part]


def specials(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Strings the tokenizer reads as special tokens."""
    return {*tokenizer.all_special_tokens, *_added_specials(str(tokenizer.name_or_path))} | {
        token.content for token in tokenizer.added_tokens_decoder.values() if token.special
    }


@functools.cache
def _added_specials(folder: str) -> frozenset[str]:
    file = Path(folder) / "tokenizer.json"
    if not file.is_file():
        return frozenset()
    added = json.loads(file.read_text(encoding="utf-8")).get("added_tokens", [])
    return frozenset(token["content"] for token in added if token.get("special"))


def differences(model_dir: str | Path, texts: Sequence[str] = PROBES) -> list[str]:
    """Texts whose ids by `load` are not those of tokenizer.json itself."""
    tokenizer, file = load(model_dir), raw(Path(model_dir) / "tokenizer.json")
    return [text for text in texts if _ids(tokenizer, text, False, True) != file.encode(text).ids]


def check_ids(token_ids: Sequence[int], n_rows: int, whose: str) -> None:
    """Raise JobError where a token has no row in an embedding of so many."""
    largest = max(token_ids, default=0)
    if largest >= n_rows:
        raise JobError(
            f"{whose} holds token {largest}, but the model has embeddings for {n_rows} tokens, 0 "
            f"to {n_rows - 1}. Use the tokenizer that was saved with these weights."
        )
