"""Forward passes that begin at a block, from the state that a cached pass had there."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from prunescope import finite
from prunescope.model import anatomy, capture, loading
from prunescope.model.edits import Edit

TOKENS_TOGETHER = 512
"""Tokens per pass: enough for the speed of matrix products, and several batches per text, so that
a search can give up a candidate before it has read all of them."""


class Part(NamedTuple):
    """What may be dropped: the number of a block, and `attn`, `mlp` or `block`."""

    block: int
    kind: str


class Batch(NamedTuple):
    """Sequences that are run together, padded on the right, where causal attention ignores it.

    Attributes
    ----------
    token_ids : (sequences, length).
    is_scored : (sequences, length) bool, the positions at which states are compared.
    """

    token_ids: Tensor
    is_scored: Tensor


def batches_of(sequences: Sequence[tuple[Sequence[int], int]]) -> list[Batch]:
    """Batches of sequences of similar length.

    Parameters
    ----------
    sequences : tokens of each, and the first position that is scored.
    """
    batches: list[Batch] = []
    waiting: list[tuple[Sequence[int], int]] = []
    for sequence in sorted(sequences, key=lambda each: len(each[0])):
        if waiting and len(sequence[0]) * (len(waiting) + 1) > TOKENS_TOGETHER:
            batches.append(_padded(waiting))
            waiting = []
        waiting.append(sequence)
    return [*batches, _padded(waiting)] if waiting else batches


def _padded(sequences: Sequence[tuple[Sequence[int], int]]) -> Batch:
    size = (len(sequences), max(len(tokens) for tokens, _ in sequences))
    token_ids = torch.zeros(size, dtype=torch.long)
    is_scored = torch.zeros(size, dtype=torch.bool)
    for row, (tokens, start) in enumerate(sequences):
        token_ids[row, : len(tokens)] = torch.tensor(list(tokens))
        is_scored[row, start : len(tokens)] = True
    return Batch(token_ids, is_scored)


class Blocks:
    """The blocks of a causal model with any of their sublayers left out.

    Sublayers are left out by the same edits that make a variant, so that a pass through these
    blocks is that of the variant.

    Attributes
    ----------
    calls : number of blocks run so far.
    """

    def __init__(self, model: Any) -> None:
        count = len(anatomy.blocks_of(model))
        every = tuple(range(count))
        attn, mlp = anatomy.SUBLAYERS
        edits = {(): Edit(), (attn,): Edit({attn: every}), (mlp,): Edit({mlp: every})}
        edits[attn, mlp] = Edit({attn: every, mlp: every})
        self.forms: dict[tuple[str, ...], nn.ModuleList] = {
            kinds: anatomy.blocks_of(loading.apply_edit(model, edit))
            for kinds, edit in edits.items()
        }
        self.count = count
        self.calls = 0

    def states(
        self, h: Tensor, first: int, call: Sequence[capture.Call], dropped: Iterable[Part]
    ) -> Iterator[Tensor]:
        """The states after block `first` and after each one that follows, (batch, length, d).

        Parameters
        ----------
        h : the state before block `first`.
        first : number of the block to begin at.
        call : the arguments with which the dense model calls each block.
        dropped : the parts that are left out.
        """
        left_out = frozenset(dropped)
        for block in range(first, self.count):
            if Part(block, "block") not in left_out:
                kinds = tuple(k for k in anatomy.SUBLAYERS if Part(block, k) in left_out)
                h = _run(self.forms[kinds][block], call[block], h)
                self.calls += 1
            yield h


def _run(block: nn.Module, call: capture.Call, h: Tensor) -> Tensor:
    """The output of a block called as in `call`, but on the state h."""
    args, kwargs = call
    if args:
        return capture.state_of(block(h, *args[1:], **kwargs))
    return capture.state_of(block(**{**kwargs, "hidden_states": h}))


def _without_state(call: capture.Call) -> capture.Call:
    """The arguments of a block without the dense state, which would be kept in memory."""
    args, kwargs = call
    return ((None, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": None})


class CachedPass:
    """The states of one batch before every block, while some parts are dropped.

    Parameters
    ----------
    model : the dense model.
    blocks : its blocks.
    batch : the text.

    Attributes
    ----------
    dense : states of the dense model after the last block at the scored positions, (rows, d).
    seconds : duration of the dense pass.
    """

    def __init__(self, model: Any, blocks: Blocks, batch: Batch) -> None:
        start = time.perf_counter()
        self._blocks, self._dropped = blocks, frozenset[Part]()
        self._is_scored = batch.is_scored.to(model.device)
        calls: dict[int, capture.Call] = {}
        stream: dict[int, Tensor] = {}

        def keep(boundary: int, h: Tensor) -> None:
            if boundary % len(anatomy.SUBLAYERS) == 0:
                stream[boundary] = h

        with capture.boundaries(model, keep, calls):
            model.base_model(input_ids=batch.token_ids.to(model.device), use_cache=False)
        blocks.calls += blocks.count
        self._states = [stream[boundary] for boundary in sorted(stream)]
        self._call = [_without_state(calls[block]) for block in range(blocks.count)]
        self.dense = self._scored(self._states[-1])
        self.seconds = time.perf_counter() - start

    def _scored(self, h: Tensor) -> Tensor:
        return finite.checked(h[self._is_scored], "states after the last block")

    def without(self, part: Part) -> Tensor:
        """States after the last block if `part` is dropped, too, at scored positions, (rows, d)."""
        dropped = self._dropped | {part}
        states = self._blocks.states(self._states[part.block], part.block, self._call, dropped)
        return self._scored(deque(states, maxlen=1).pop())

    def around(self, part: Part) -> tuple[Tensor, Tensor]:
        """States before and after a part that is not dropped, at scored positions, (rows, d)."""
        before, after = self._states[part.block], self._states[part.block + 1]
        if part.kind != "block":
            no_mlp = self._dropped | {Part(part.block, "mlp")}
            middle = next(self._blocks.states(before, part.block, self._call, no_mlp))
            before, after = (before, middle) if part.kind == "attn" else (middle, after)
        return self._scored(before), self._scored(after)

    def drop(self, part: Part) -> None:
        """Leave a part out from now on. Only states above it are computed again."""
        self._dropped |= {part}
        kept = self._states[: part.block + 1]
        above = self._blocks.states(kept[-1], part.block, self._call, self._dropped)
        self._states = [*kept, *above]
