"""Log-likelihoods of continuations, read without padding and with every context only once.

A pack is one row of tokens. It holds several items one after another: the context of an item, and
then all of its continuations, which start at the same position and do not see each other. The
attention mask says so. Short texts thereby become matrix products of a few hundred rows, which are
computed near the peak speed of a processor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

Answer = tuple[float, bool]
"""Log-likelihood of a continuation in nats, and whether greedy decoding would generate it."""

MOST_TOKENS = 256
"""Tokens of a pack. Products of more rows are hardly faster, and attention costs the square of it
(SmolLM2 on one core)."""


@dataclass(frozen=True)
class Item:
    """A context with all requested continuations, and the indices of their requests."""

    context: tuple[int, ...]
    requests: list[int] = field(default_factory=list)
    continuations: list[list[int]] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        """Tokens that are read: of the last token of a continuation, only the likelihood counts."""
        return len(self.context) + sum(len(tokens) - 1 for tokens in self.continuations)


class Layout(NamedTuple):
    """The tokens of a pack, and where each continuation is predicted.

    Attributes
    ----------
    token_ids, positions : (tokens,).
    item, branch : (tokens,); the index of each token's item, and of its continuation within the
        pack, or -1 for the tokens of a context.
    predicted_at : for each continuation, the places of the tokens that predict its tokens.
    """

    token_ids: Tensor
    positions: Tensor
    item: Tensor
    branch: Tensor
    predicted_at: list[list[int]]


def packs(items: Sequence[Item], most_tokens: int = MOST_TOKENS) -> Iterator[list[Item]]:
    """Yield packs of consecutive items with at most `most_tokens` tokens, or of one item."""
    pack: list[Item] = []
    n_tokens = 0
    for item in items:
        if pack and n_tokens + item.n_tokens > most_tokens:
            yield pack
            pack, n_tokens = [], 0
        pack.append(item)
        n_tokens += item.n_tokens
    if pack:
        yield pack


def layout(pack: Sequence[Item]) -> Layout:
    """Put the items of a pack one after another."""
    token_ids: list[int] = []
    positions: list[int] = []
    places: list[tuple[int, int]] = []
    predicted_at: list[list[int]] = []
    for index, item in enumerate(pack):
        n_context = len(item.context)
        token_ids += item.context
        positions += range(n_context)
        places += [(index, -1)] * n_context
        last_of_context = len(token_ids) - 1
        for continuation in item.continuations:
            start, n_read = len(token_ids), len(continuation) - 1
            predicted_at.append([last_of_context, *range(start, start + n_read)])
            token_ids += continuation[:-1]
            positions += range(n_context, n_context + n_read)
            places += [(index, len(predicted_at) - 1)] * n_read
    item_of, branch_of = torch.tensor(places).unbind(dim=1)
    return Layout(
        torch.tensor(token_ids), torch.tensor(positions), item_of, branch_of, predicted_at
    )


def visible(placed: Layout) -> Tensor:
    """Whether a token (row) sees another (column), (tokens, tokens).

    It sees earlier tokens of its item that belong to the context or to its own continuation.
    """
    same_item = placed.item[:, None] == placed.item
    same_branch = (placed.branch == -1) | (placed.branch[:, None] == placed.branch)
    return (same_item & same_branch).tril()


@torch.inference_mode()
def answers(
    model: Any, pack: Sequence[Item], softmax_dtype: torch.dtype | None = None
) -> Iterator[tuple[int, Answer]]:
    """Yield request index and answer of every continuation in a pack.

    Parameters
    ----------
    model : a causal language model whose attention reaches over whole items.
    pack : the items.
    softmax_dtype : number type of log-probabilities; None for that of the logits.
    """
    placed = layout(pack)
    device = model.device
    mask = torch.zeros(len(placed.token_ids), len(placed.token_ids), dtype=model.dtype)
    mask.masked_fill_(~visible(placed), torch.finfo(model.dtype).min)
    read = sorted({place for places in placed.predicted_at for place in places})
    row_of = {place: row for row, place in enumerate(read)}
    logits = model(
        input_ids=placed.token_ids[None].to(device),
        position_ids=placed.positions[None].to(device),
        attention_mask=mask[None, None].to(device),
        use_cache=False,
        logits_to_keep=torch.tensor(read, device=device),
    ).logits[0]
    log_p = torch.log_softmax(logits, dim=-1, dtype=softmax_dtype)
    best = log_p.argmax(dim=-1).tolist()
    requests = [index for item in pack for index in item.requests]
    continuations = [tokens for item in pack for tokens in item.continuations]
    for request, tokens, places in zip(requests, continuations, placed.predicted_at, strict=True):
        rows = [row_of[place] for place in places]
        total = log_p[rows, tokens].sum()
        yield request, (float(total), [best[row] for row in rows] == tokens)
