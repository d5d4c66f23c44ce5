"""Embed texts: one vector per text, from the hidden states after the last block.

This also works for models that were not trained to embed: the hidden state of the last token after
the final norm is the input of `lm_head`.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from prunescope.model import tokenization
from prunescope.progress import LOG, JobError, track
from prunescope.storage import seals, store

TOKENS_TOGETHER = {"cpu": 2048, "cuda": 32768}
"""Tokens per forward pass, including padding: enough for matrix products at full speed."""

Encode = Callable[[Sequence[str]], list[list[int]]]


def encoder(
    tokenizer_file: str | Path, max_length: int, starts_with: str = "", ends_with: str = ""
) -> Encode:
    """Make a function that encodes texts as at most `max_length` token ids each.

    The special tokens that the tokenizer adds are always included.

    Parameters
    ----------
    tokenizer_file : the tokenizer.json.
    max_length : length to which texts are truncated.
    starts_with : put before every text.
    ends_with : text or special token that ends every sequence, even a truncated one; it is not
        added twice. It matters for the pooling `last_token`: E5-Mistral is trained to embed at
        `</s>`, and a plain language model sums up the text after "in one word" (PromptEOL, Jiang
        et al. 2024).

    Raises
    ------
    JobError
        if the ending alone leaves no room for a text.
    """
    tokenizer = tokenization.raw(tokenizer_file)
    ending = tokenizer.encode(ends_with, add_special_tokens=False).ids
    room = max_length - len(ending)
    if room < 1:
        raise JobError(
            f"embedding/ends_with has {len(ending)} tokens, but max_length is {max_length}. "
            "Set a greater max_length."
        )
    encode_start = tokenization.encoder(tokenizer_file, max_length, starts_with)

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [ids if _ends(ids, ending) else ids[:room] + ending for ids in encode_start(texts)]

    return encode


def were_cut(encode: Encode, whole: Encode, max_length: int, texts: Sequence[str]) -> list[bool]:
    """Whether each text is longer than `max_length`, so that `encode` truncates it.

    Parameters
    ----------
    encode : encoder with the limit.
    whole : the same encoder without a limit; used only for texts that reach the limit.
    max_length : the limit.
    texts : the texts.
    """
    encoded = encode(texts)
    full_texts = [index for index, ids in enumerate(encoded) if len(ids) >= max_length]
    uncut = whole([texts[index] for index in full_texts])
    longer_texts = {
        index for index, ids in zip(full_texts, uncut, strict=True) if len(ids) > max_length
    }
    return [index in longer_texts for index in range(len(texts))]


def _ends(ids: Sequence[int], ending: Sequence[int]) -> bool:
    return list(ids[len(ids) - len(ending) :]) == list(ending)


@torch.inference_mode()
def embed(model: Any, sequences: Sequence[Sequence[int]], pooling: str, normalize: bool) -> Tensor:
    """Compute one vector per sequence, in the given order, (n, d) float32 on the cpu.

    Sequences are processed in batches of similar length, padded on the right. Positions then start
    at the first token, and under a causal mask no token sees the padding.

    Parameters
    ----------
    model : a causal model or an encoder.
    sequences : token ids of each text.
    pooling : `mean` over the tokens, or `last_token`, both in float32.
    normalize : True scales every vector to length 1, so that dot products are cosines.

    Raises
    ------
    JobError
        if a text has no token, or a vector is not finite.
    """
    if empty := [index for index, ids in enumerate(sequences) if not ids]:
        raise JobError(
            f"{len(empty)} of {len(sequences)} texts have no token, so no hidden state to embed: "
            f"the first is number {empty[0]}, counted from 0. Leave empty texts out of the set, or "
            "set embedding/starts_with, which gives every text a token."
        )
    rows = torch.empty(len(sequences), model.config.hidden_size)
    batches = list(_batches([len(s) for s in sequences], TOKENS_TOGETHER[model.device.type]))
    for batch in track(batches, "embedding"):
        token_ids, mask = (t.to(model.device) for t in _padded([sequences[i] for i in batch]))
        h = model.base_model(
            input_ids=token_ids, attention_mask=None if mask.all() else mask, use_cache=False
        ).last_hidden_state
        rows[batch] = pooled(h, mask, pooling).cpu()
    if not rows.isfinite().all():
        raise JobError(
            "an embedding contains NaN or infinity: numbers overflow in the variant. Set dtype: "
            "float32 for the model, or leave this variant out."
        )
    return torch.nn.functional.normalize(rows, dim=-1) if normalize else rows


def pooled(h: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Pool hidden states, (n, sequence, d) with mask (n, sequence) bool -> (n, d).

    Parameters
    ----------
    h : (n, sequence, d), hidden states.
    mask : (n, sequence) bool, False for padding.
    pooling : `mean` or `last_token`.
    """
    in_float32 = h.float()
    if pooling == "last_token":
        return in_float32[torch.arange(len(h), device=h.device), mask.sum(1) - 1]
    return (in_float32 * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def _batches(lengths: Sequence[int], tokens_together: int) -> Iterator[list[int]]:
    """Yield batches of indices, longest first, of at most `tokens_together` padded tokens."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while order:
        size = max(1, tokens_together // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def _padded(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids padded with 0, and a mask that is True for real tokens, (n, longest) each."""
    rows = [torch.tensor(ids, dtype=torch.int64) for ids in sequences]
    real = [torch.ones(len(ids), dtype=torch.bool) for ids in sequences]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(rows, batch_first=True), pad(real, batch_first=True)


@dataclass(frozen=True)
class Embedder:
    """Embeds texts with a variant, and caches the embeddings in files.

    A file is used again only if it was made from the same tokens with the same weights, settings,
    code and versions of packages. The model is then not even loaded, so that a killed job resumes
    quickly.

    Attributes
    ----------
    model : returns the variant, which it loads on the first call.
    encode : encodes texts as token ids.
    settings : `pooling` and `normalize`.
    made_from : hashes of everything else that embeddings depend on: weights, edit and code.
    """

    model: Callable[[], Any]
    encode: Encode
    settings: Mapping[str, Any]
    made_from: Mapping[str, str]

    def __call__(self, texts: Sequence[str], file: str | Path) -> Tensor:
        """Embed texts, (n, d) float32 on the cpu, or read the embeddings from `file`."""
        sequences = self.encode(texts)
        key = self._key(sequences)
        if Path(file).is_file() and seals.is_whole(file) and _key_in(file) == key:
            LOG.info("%d embeddings from %s", len(texts), file)
            # A copy has the memory alignment of new embeddings, so that products round equally.
            return load_file(file)["embeddings"].clone()
        embeddings = embed(self.model(), sequences, **self.settings)
        with store.written_whole(file) as part:
            save_file({"embeddings": embeddings}, part, {"prunescope": seals.header({"key": key})})
            seals.seal(part)
        return embeddings

    def _key(self, sequences: Sequence[Sequence[int]]) -> str:
        dependencies = {
            "settings": dict(self.settings),
            "made_from": dict(self.made_from),
            "versions": store.versions(),
        }
        digest = hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode())
        for ids in sequences:
            digest.update(json.dumps(list(ids)).encode())
        return digest.hexdigest()


def _key_in(file: str | Path) -> str:
    with safe_open(file, framework="pt") as opened:
        return str(json.loads(opened.metadata()["prunescope"])["key"])
