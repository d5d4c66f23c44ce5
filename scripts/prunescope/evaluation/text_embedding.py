"""Texts to embeddings: one vector a text, from the hidden states after the last block.

A model that was never trained to embed does it too: its last token's hidden state after the final
norm is what `lm_head` would read.
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
"""Tokens of one forward pass, padding included: enough to reach the GEMM peak."""

Encode = Callable[[Sequence[str]], list[list[int]]]


def encoder(
    tokenizer_file: str | Path, max_length: int, starts_with: str = "", ends_with: str = ""
) -> Encode:
    """Texts to at most `max_length` token ids, the tokenizer's special tokens always among them.

    Parameters
    ----------
    starts_with : put before every text.
    ends_with : text or special token whose tokens end every sequence, unless they stand there
        already, whatever is cut: what the last token's state answers. E5-Mistral reads it off
        `</s>`; a plain language model says "in one word" what it read (PromptEOL, Jiang et al.
        2024).

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
    read = tokenization.encoder(tokenizer_file, max_length, starts_with)

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [ids if _ends(ids, ending) else ids[:room] + ending for ids in read(texts)]

    return encode


def were_cut(encode: Encode, whole: Encode, max_length: int, texts: Sequence[str]) -> list[bool]:
    """Which texts are longer than `max_length`, so that `encode` leaves their rest out.

    Parameters
    ----------
    whole : the same encoder without a limit; asked only for texts that fill it.
    """
    found = encode(texts)
    full = [place for place, ids in enumerate(found) if len(ids) >= max_length]
    uncut = whole([texts[place] for place in full])
    longer = {place for place, ids in zip(full, uncut, strict=True) if len(ids) > max_length}
    return [place in longer for place in range(len(texts))]


def _ends(ids: Sequence[int], ending: Sequence[int]) -> bool:
    return list(ids[len(ids) - len(ending) :]) == list(ending)


@torch.inference_mode()
def embed(model: Any, sequences: Sequence[Sequence[int]], pooling: str, normalize: bool) -> Tensor:
    """One vector a sequence, in the order given, (n, d) float32 on the cpu.

    Sequences run in batches of similar length, padded on the right: positions count from the first
    token, and under a causal mask no token sees what follows it.

    Parameters
    ----------
    pooling : `mean` over the tokens, or `last_token`, both in float32.
    normalize : True scales every vector to length 1, so that dot products are cosines.

    Raises
    ------
    JobError
        if a text has no token, or a vector is not finite.
    """
    if empty := [place for place, ids in enumerate(sequences) if not ids]:
        raise JobError(
            f"{len(empty)} of {len(sequences)} texts have no token, so no state to embed them by: "
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
            "an embedding holds NaN or infinity: the variant's numbers overflow. Set dtype: "
            "float32 for the model, or leave this variant out."
        )
    return torch.nn.functional.normalize(rows, dim=-1) if normalize else rows


def pooled(h: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Hidden states to one vector a text, (n, sequence, d) and (n, sequence) bool -> (n, d)."""
    wide = h.float()
    if pooling == "last_token":
        return wide[torch.arange(len(h), device=h.device), mask.sum(1) - 1]
    return (wide * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def _batches(lengths: Sequence[int], tokens_together: int) -> Iterator[list[int]]:
    """Indices by descending length, as many at a time as padded to the longest still fit."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while order:
        size = max(1, tokens_together // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def _padded(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids padded with 0, and which of them are real, (n, longest) each."""
    rows = [torch.tensor(ids, dtype=torch.int64) for ids in sequences]
    real = [torch.ones(len(ids), dtype=torch.bool) for ids in sequences]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(rows, batch_first=True), pad(real, batch_first=True)


@dataclass(frozen=True)
class Embedder:
    """A variant that embeds, and a folder that remembers what it embedded.

    A file is used again only if it was made from the same tokens by the same weights, settings and
    code: then the model is not even loaded. A killed job so continues where it stopped.

    Attributes
    ----------
    model : loads the variant when called the first time.
    settings : `pooling` and `normalize`.
    made_from : what else decides a vector: hashes of weights, edit and code.
    """

    model: Callable[[], Any]
    encode: Encode
    settings: Mapping[str, Any]
    made_from: Mapping[str, str]

    def __call__(self, texts: Sequence[str], file: str | Path) -> Tensor:
        """Embeddings of the texts, (n, d) float32 on the cpu; read from `file` or written to it."""
        sequences = self.encode(texts)
        key = self._key(sequences)
        if Path(file).is_file() and seals.is_whole(file) and _key_in(file) == key:
            LOG.info("%d embeddings from %s", len(texts), file)
            # Copied to where memory is aligned as that of new ones: products round alike.
            return load_file(file)["embeddings"].clone()
        embeddings = embed(self.model(), sequences, **self.settings)
        with store.written_whole(file) as part:
            save_file({"embeddings": embeddings}, part, {"prunescope": seals.header({"key": key})})
            seals.seal(part)
        return embeddings

    def _key(self, sequences: Sequence[Sequence[int]]) -> str:
        decides = {"settings": dict(self.settings), "made_from": dict(self.made_from)}
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
        for ids in sequences:
            digest.update(json.dumps(list(ids)).encode())
        return digest.hexdigest()


def _key_in(file: str | Path) -> str:
    with safe_open(file, framework="pt") as opened:
        return str(json.loads(opened.metadata()["prunescope"])["key"])
