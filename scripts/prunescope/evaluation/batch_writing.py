"""Greedy texts after many contexts: read in groups of similar length, written in one batch.

Reading is fastest without padding, so that contexts of similar length are read together. Writing is
fastest with many rows, because every step reads all weights. Once read, the keys and values of all
groups are therefore put into one cache, and a text that has ended leaves it.
"""

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from prunescope import finite, progress
from prunescope.model.prompts import padded

_WORTH_LEAVING = 4
"""Ended texts leave the cache as soon as they are one of so many rows."""


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer with room for tokens to come.

    A step writes its own tokens into the room, whereas `DynamicLayer` would copy all others too.

    Parameters
    ----------
    keys, values : (rows, heads, tokens, d_head).
    room : number of tokens to come.
    """

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self._keys, self._values = _with_room(keys, room), _with_room(values, room)
        self._show(keys.shape[-2])

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Add the keys and values of new tokens; returns those of all tokens."""
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        self._keys[..., old:new, :] = key_states
        self._values[..., old:new, :] = value_states
        return self._show(new)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        self._keys, self._values = self._keys[indices], self._values[indices]
        self._show(self.get_seq_length())

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        shown = self._keys[..., :length, :], self._values[..., :length, :]
        self.keys, self.values = shown
        return shown


def _with_room(states: Tensor, room: int) -> Tensor:
    rows, heads, length, width = states.shape
    roomy = states.new_empty(rows, heads, length + room, width)
    roomy[..., :length, :] = states
    return roomy


@torch.inference_mode()
def texts_after(
    model: Any,
    contexts: Sequence[Sequence[int]],
    groups: Sequence[slice],
    n_shared: int,
    max_new_tokens: int,
    has_ended: Callable[[Sequence[int]], bool],
) -> list[list[int]]:
    """Greedy texts of one batch, each up to the token with which it ends.

    Parameters
    ----------
    model : a causal language model.
    contexts : token ids of each context.
    groups : the contexts that are read together, in order; a single one if attention slides.
    n_shared : number of tokens with which all contexts begin; they are read once. 0 if attention
        slides.
    max_new_tokens : greatest length of a text.
    has_ended : whether a text has ended with its last token.
    """
    start = _read(model, [contexts[0][:n_shared]])[1] if n_shared else None
    read = [_read(model, [list(c) for c in contexts[group]], n_shared, start) for group in groups]
    logits = torch.cat([logits for logits, _, _ in read])
    cache, mask = _joined([(cache, mask) for _, cache, mask in read], max_new_tokens)
    texts: list[list[int]] = [[] for _ in contexts]
    rows, ended = list(range(len(contexts))), set[int]()
    positions = mask.sum(dim=1)
    for step in progress.track(range(max_new_tokens), "steps"):
        finite.checked(logits.amax(-1), f"step {step} of {len(contexts)} generated texts: logits")
        chosen = logits.argmax(dim=-1)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if row not in ended:
                texts[row].append(token)
                if has_ended(texts[row]):
                    ended.add(row)
        writing = [place for place, row in enumerate(rows) if row not in ended]
        if not writing or step == max_new_tokens - 1:
            break
        if len(rows) - len(writing) >= len(rows) / _WORTH_LEAVING:
            kept = torch.tensor(writing, device=mask.device)
            cache.batch_select_indices(kept)
            mask, positions, chosen = mask[kept], positions[kept], chosen[kept]
            rows = [rows[place] for place in writing]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        logits = model(
            input_ids=chosen[:, None],
            attention_mask=mask,
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        positions = positions + 1
    return texts


def _read(
    model: Any, contexts: Sequence[Sequence[int]], n_read: int = 0, start: Any = None
) -> tuple[Tensor, Any, Tensor]:
    """Logits (rows, vocabulary) after contexts, their cache, and its mask (rows, tokens).

    Padding stands between the shared start and the rest of a context.

    Parameters
    ----------
    contexts : token ids.
    n_read, start : number of tokens with which all begin, and the cache of these.
    """
    ids, mask = padded([context[n_read:] for context in contexts], left=True, device=model.device)
    mask = torch.cat([mask.new_ones(len(contexts), n_read), mask], dim=1)
    cache = copy.deepcopy(start)
    if cache is not None:
        cache.batch_repeat_interleave(len(contexts))
    done = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0)[:, n_read:],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return done.logits[:, -1], done.past_key_values, mask


def _joined(read: Sequence[tuple[Any, Tensor]], room: int) -> tuple[Any, Tensor]:
    """One cache of several, with room for new tokens, and its mask; shorter ones are padded left.

    A single cache with sliding attention is returned as it is.
    """
    caches, masks = zip(*read, strict=True)
    if slides(caches[0]):
        (cache,), (mask,) = caches, masks
        return cache, mask
    width = max(mask.shape[1] for mask in masks)
    mask = torch.cat([_padded_left(each, width, dim=1) for each in masks])
    joined = DynamicCache()
    joined.layers = []
    for layers in zip(*(cache.layers for cache in caches), strict=True):
        if not layers[0].is_initialized:  # of a dropped sublayer
            joined.layers.append(layers[0])
            continue
        keys = torch.cat([_padded_left(layer.keys, width, dim=2) for layer in layers])
        values = torch.cat([_padded_left(layer.values, width, dim=2) for layer in layers])
        joined.layers.append(RoomyLayer(keys, values, room))
    return joined, mask


def slides(cache: Any) -> bool:
    """Whether a layer of a cache keeps only a window of the tokens."""
    return any(layer.is_sliding for layer in cache.layers)


def _padded_left(states: Tensor, width: int, dim: int) -> Tensor:
    shape = list(states.shape)
    shape[dim] = width - shape[dim]
    return torch.cat([states.new_zeros(shape), states], dim=dim)


def common_start(contexts: Sequence[Sequence[int]]) -> list[int]:
    """Tokens that all contexts begin with, without the last token of any; may be empty."""
    columns = zip(*(context[:-1] for context in contexts), strict=False)
    common = itertools.takewhile(lambda column: len(set(column)) == 1, columns)
    return [column[0] for column in common]


def groups_of_similar_length(lengths: Sequence[int], most_padding: int) -> list[slice]:
    """Divide texts into groups that are read together, each with at most `most_padding` padding.

    Parameters
    ----------
    lengths : lengths of the texts in tokens, descending.
    most_padding : largest number of padding tokens per group.
    """
    groups: list[slice] = []
    start = 0
    for stop in range(1, len(lengths) + 1):
        following = lengths[start : stop + 1]
        padding = following[0] * len(following) - sum(following)
        if stop == len(lengths) or padding > most_padding:
            groups.append(slice(start, stop))
            start = stop
    return groups
