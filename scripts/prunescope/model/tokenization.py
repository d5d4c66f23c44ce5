"""Tokenize all text in the same way: as the checkpoint's tokenizer.json says.

transformers may load a tokenizer class that splits text differently from tokenizer.json. Then
calibration text and prompts would be tokenized in two ways. Here, the file always decides.

Special tokens are recognised only where a template or the tokenizer puts them. In a user's text,
the same characters are ordinary text. This works as follows: if a text contains the string of a
special token, a second tokenizer is made, in which every special token has another name with the
same id. Users' texts must not contain these names, and special tokens of templates are renamed.
Therefore template and text are tokenized together, and the text need not be cut out.
"""

import json
import re
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from prunescope.progress import JobError

Encode = Callable[[Sequence[str]], list[list[int]]]

_RENAMED = "\U000f0001{}\U000f0002"
"""The other name of a special token, in characters that Unicode reserves for private use."""

_HIDDEN = "\U000f0003{}\U000f0004"
"""Placeholder for the string of a special token in a user's text while a template renders it."""

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
"""Texts on which tokenizers often differ: code, blank lines, digits, other scripts, emoji."""


@dataclass(frozen=True)
class Prompting:
    """Settings with which a chat template renders a prompt, the same every day.

    Attributes
    ----------
    date : YYYY-MM-DD, given to templates that ask for today's date.
    chat_template_kwargs : variables for the template.
    """

    date: str = "2026-01-01"
    chat_template_kwargs: Mapping[str, Any] = field(
        default_factory=lambda: {"enable_thinking": False, "thinking": False}
    )


def load(
    model_dir: str | Path, prompting: Mapping[str, Any] | None = None
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model's folder, with padding on the left for batched decoding.

    Special tokens and the chat template are those of the folder. A tokenizer without a padding
    token pads with its end-of-text token or, if it has none, with token 0, as padding is masked.

    Parameters
    ----------
    model_dir : folder of the model.
    prompting : fields of `Prompting`, which `prompts.render` reads from the tokenizer.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(
            model_dir,
            local_files_only=True,
            padding_side="left",
            split_special_tokens=True,
            trust_remote_code=False,
        )
    except Exception as error:  # the library of tokenizers raises plain exceptions
        raise JobError(
            f"{model_dir}: tokenizer.json, or a file of settings beside it, makes no tokenizer "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Fetch the tokenizer "
            "again, or save it again with transformers."
        ) from error
    tokenizer._tokenizer.no_truncation()
    tokenizer._tokenizer.no_padding()
    known = raw(Path(model_dir) / "tokenizer.json")
    if getattr(known.model, "dropout", None):
        raise JobError(
            f"{model_dir}: tokenizer.json splits the same text in another way each time (dropout "
            f"{known.model.dropout}), which is for training only. Set model/dropout to null in it."
        )
    _refuse_unknown(tokenizer, known)
    _refuse_contradiction(tokenizer, known, model_dir)
    if tokenizer.pad_token is None or known.token_to_id(tokenizer.pad_token) is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    chat_template = Path(model_dir) / "chat_template.json"
    if tokenizer.chat_template is None and chat_template.is_file():
        text = chat_template.read_text(encoding="utf-8")
        tokenizer.chat_template = json.loads(text)["chat_template"]
    tokenizer.prompting = Prompting(**(prompting or {}))
    return tokenizer


def _refuse_unknown(tokenizer: PreTrainedTokenizerBase, tokenizer_json: Tokenizer) -> None:
    """Raise JobError if special tokens are missing from tokenizer.json or have another id there.

    transformers adds them after the vocabulary, where the model has no embedding or an untrained
    one. Padding, unknown and mask tokens are harmless, because the model never reads them.
    """
    harmless = {tokenizer.pad_token, tokenizer.unk_token, tokenizer.mask_token}
    added = {token.content: token_id for token_id, token in tokenizer.added_tokens_decoder.items()}
    unknown = {
        t for t, token_id in added.items() if tokenizer_json.token_to_id(t) != token_id
    } - harmless
    if unknown:
        raise JobError(
            f"{tokenizer.name_or_path}: tokenizer_config.json or special_tokens_map.json names the "
            f"tokens {', '.join(sorted(unknown)[:5])}, which tokenizer.json lacks or has at "
            "another id: the model has no embeddings for them. Use the tokenizer.json that was "
            "saved with these weights."
        )


def _refuse_contradiction(
    tokenizer: PreTrainedTokenizerBase, tokenizer_json: Tokenizer, model_dir: str | Path
) -> None:
    """Raise JobError if tokenizer_config.json and tokenizer.json add different tokens to a text.

    `add_bos_token` and `add_eos_token` are from before tokenizer.json. Some releases of
    transformers follow them, others follow the post-processor of tokenizer.json, so that nobody can
    tell with which of the two the model was trained.
    """
    file = Path(model_dir) / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    ids = tokenizer_json.encode(PROBES[0]).ids
    for key, token, added_ids, where in (
        ("add_bos_token", tokenizer.bos_token, ids[:1], "before"),
        ("add_eos_token", tokenizer.eos_token, ids[-1:], "after"),
    ):
        says = settings.get(key)
        token_id = None if token is None else tokenizer_json.token_to_id(token)
        does = added_ids == [token_id]
        if token_id is not None and isinstance(says, bool) and says != does:
            raise JobError(
                f"{tokenizer.name_or_path}: tokenizer_config.json says {key}: "
                f"{str(says).lower()}, but tokenizer.json puts {'' if does else 'no '}{token} "
                f"{where} a text, and releases of transformers differ in which of the two they "
                f"follow. In a copy of the folder, take {key} out if tokenizer.json is right, or "
                "else correct tokenizer.json, and name the copy as `path`."
            )


def n_tokens(tokenizer_file: str | Path) -> int:
    """Number of token ids up to the greatest of a tokenizer.json.

    Tokens that transformers adds, such as a padding token that only tokenizer_config.json names, do
    not count: no text is read as one of them.
    """
    return max(raw(tokenizer_file).get_vocab().values(), default=-1) + 1


def raw(tokenizer_file: str | Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json, without truncation or padding."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encoder(
    tokenizer_file: str | Path, max_length: int | None = None, starts_with: str = ""
) -> Encode:
    """Make a function that encodes users' texts, in which no string is a special token.

    The tokenizer's special tokens around a text are added.

    Parameters
    ----------
    tokenizer_file : the tokenizer.json.
    max_length : length to which texts are truncated, including special tokens around them.
    starts_with : put before every text; special tokens in it are recognised.
    """
    tokenizer = raw(tokenizer_file)
    specials = specials_of(tokenizer)
    renamed: list[Tokenizer] = []
    if max_length is not None:
        tokenizer.enable_truncation(max_length)

    def encode(texts: Sequence[str]) -> list[list[int]]:
        if not any(special in text for text in texts for special in specials):
            whole = [f"{starts_with}{text}" for text in texts]
            return [encoding.ids for encoding in tokenizer.encode_batch_fast(whole)]
        if not renamed:
            renamed.append(with_renamed(tokenizer, specials))
        whole = [f"{_rename(starts_with, specials)}{_unmarked(text)}" for text in texts]
        return [encoding.ids for encoding in renamed[0].encode_batch_fast(whole)]

    return encode


def specials_of(tokenizer: Tokenizer) -> set[str]:
    """Strings that a tokenizer recognises as special tokens."""
    added = tokenizer.get_added_tokens_decoder().values()
    return {token.content for token in added if token.special}


def with_renamed(tokenizer: Tokenizer, specials: Collection[str]) -> Tokenizer:
    """Copy a tokenizer with other names (`_RENAMED`) for its special tokens, at the same ids.

    Tokens are renamed in the vocabulary, too, in which Unigram and WordLevel models would find
    "</s>" even if it is no added token. Merges that result in such a token are removed.
    """
    names = {special: _RENAMED.format(special) for special in specials}
    content = json.loads(tokenizer.to_str())
    for token in content["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = content["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(token, token): place for token, place in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(token, token), score] for token, score in vocabulary]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        joint = len(model.get("continuing_subword_prefix") or "")
        pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
        model["merges"] = [
            [left, right]
            for left, right in pairs
            if not {left, right, left + right[joint:]} & names.keys()
        ]
    renamed = Tokenizer.from_str(json.dumps(content))
    moved = [s for s, n in names.items() if renamed.token_to_id(n) != tokenizer.token_to_id(s)]
    if moved:
        raise JobError(
            f"a text contains the string of a special token, and {', '.join(sorted(moved)[:5])} of "
            "this tokenizer.json cannot be told from text. Leave such texts out."
        )
    return renamed


def _unmarked(text: str) -> str:
    """The text itself. Raises JobError if it contains marks of renamed or hidden tokens."""
    if any(mark in text for mark in (_RENAMED + _HIDDEN).replace("{}", "")):
        raise JobError(
            f"the text {text[:60]!r} holds private characters (U+F0001 to U+F0004), by which "
            "special tokens are told from text. Remove them from the text."
        )
    return text


def _rename(text: str, specials: Collection[str]) -> str:
    """Replace special tokens in a text by their other names; the longest match wins."""
    return _pattern(specials).sub(lambda special: _RENAMED.format(special[0]), text)


def _pattern(specials: Collection[str]) -> re.Pattern[str]:
    longest_first = sorted(specials, key=lambda special: (-len(special), special))
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def separator(model_dir: str | Path) -> int | None:
    """The token that separates texts: end of text of the tokenizer, else of the model, or None."""
    token: Any = load(model_dir).eos_token_id
    for name in ("generation_config.json", "config.json"):
        file = Path(model_dir) / name
        if token is None and file.is_file():
            token = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
            token = next(iter(token), None) if isinstance(token, list) else token
    return None if token is None else int(token)


def text_ids(
    tokenizer: PreTrainedTokenizerBase, text: str, *, add_special_tokens: bool = False
) -> list[int]:
    """Token ids of a user's text, in which no string is a special token.

    Parameters
    ----------
    tokenizer : the tokenizer of the model.
    text : the text of a user.
    add_special_tokens : whether the beginning and ending tokens of the tokenizer are added.
    """
    if any(special in text for special in specials(tokenizer)):
        encoding = _renamed(tokenizer).encode(
            _unmarked(text), add_special_tokens=add_special_tokens
        )
        return list(encoding.ids)
    return _ids(tokenizer, text, add_special_tokens)


def template_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a rendered template or decoded prompt, with special tokens recognised."""
    return _ids(tokenizer, text, False)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, add_special_tokens: bool) -> list[int]:
    found = tokenizer(text, add_special_tokens=add_special_tokens, split_special_tokens=False)
    return list(found["input_ids"])


def hidden(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A user's text for a template, with placeholders for the strings of special tokens."""
    known = sorted(specials(tokenizer))
    hide = _pattern(known).sub
    return hide(lambda special: _HIDDEN.format(known.index(special[0])), _unmarked(text))


def rendered_ids(tokenizer: PreTrainedTokenizerBase, rendered: str) -> list[int]:
    """Token ids of a rendered template with texts from `hidden`.

    Special tokens of the template are recognised; in the texts, their strings are plain text.
    """
    known = sorted(specials(tokenizer))
    hidden_tokens = re.compile(_HIDDEN.format(r"(\d+)"))
    if not hidden_tokens.search(rendered):
        return template_ids(tokenizer, rendered)
    visible = hidden_tokens.sub(lambda match: known[int(match[1])], _rename(rendered, known))
    return list(_renamed(tokenizer).encode(visible, add_special_tokens=False).ids)


def specials(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Strings that the tokenizer recognises as special tokens."""
    return {*map(str, tokenizer.all_special_tokens), *specials_of(tokenizer.backend_tokenizer)}


_RENAMED_OF: weakref.WeakKeyDictionary[Any, Tokenizer] = weakref.WeakKeyDictionary()
"""Cache of tokenizers with renamed special tokens."""


def _renamed(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    if tokenizer not in _RENAMED_OF:
        renamed = with_renamed(tokenizer.backend_tokenizer, specials(tokenizer))
        renamed.no_truncation()
        renamed.no_padding()
        _RENAMED_OF[tokenizer] = renamed
    return _RENAMED_OF[tokenizer]


def differences(
    tokenizer: PreTrainedTokenizerBase, model_dir: str | Path, texts: Sequence[str] = PROBES
) -> list[str]:
    """Those texts that a loaded tokenizer and its tokenizer.json encode differently.

    Parameters
    ----------
    tokenizer : the loaded tokenizer.
    model_dir : folder with tokenizer.json.
    texts : the texts to encode.
    """
    file = raw(Path(model_dir) / "tokenizer.json")
    return [text for text in texts if _ids(tokenizer, text, True) != file.encode(text).ids]


def check_ids(token_ids: Sequence[int], n_rows: int, whose: str) -> None:
    """Raise JobError if a token id is not below `n_rows`, the rows of the token embedding.

    Parameters
    ----------
    token_ids : the ids to check.
    n_rows : number of rows of the token embedding.
    whose : names the text, for the message.
    """
    largest = max(token_ids, default=0)
    if largest >= n_rows:
        raise JobError(
            f"{whose} holds token {largest}, but the model has embeddings for {n_rows} tokens, 0 "
            f"to {n_rows - 1}. Use the tokenizer that was saved with these weights."
        )
