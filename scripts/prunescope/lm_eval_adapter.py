"""A variant as lm-eval's model: the model object in memory, each context read once.

Everything but the two passes below is lm-eval's own `HFLM`: tokens, truncation, stop sequences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from prunescope import progress

TokenRequest = tuple[tuple[str, str], list[int], list[int]]
"""Texts of context and continuation, tokens of the context, tokens of the continuation."""

Answer = tuple[float, bool]
"""Log-likelihood of a continuation in nats, and whether greedy decoding would write it."""


@dataclass(frozen=True)
class Item:
    """One context and every continuation asked about it."""

    context: tuple[int, ...]
    requests: list[int] = field(default_factory=list)
    continuations: list[list[int]] = field(default_factory=list)


class VariantLM(HFLM):  # type: ignore[misc]  # lm-eval is typed in part
    """lm-eval's Hugging Face model over a variant that is loaded already."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, batch_size: int) -> None:
        super().__init__(
            pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=batch_size
        )

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[Answer]:
        """As lm-eval's, without its bar."""
        answers: list[Answer] = super().loglikelihood(requests, True)
        return answers

    def _loglikelihood_tokens(
        self,
        requests: Sequence[TokenRequest],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Answer]:
        """Answers in the order of the requests; requests with one context share its keys.

        What shares nothing, or is cut to fit the model's context length, goes lm-eval's own way.
        """
        items = [] if override_bs is not None else self._shared_items(requests)
        answers: dict[int, Answer] = {}
        for batch in progress.track(list(batches(items, self.batch_size)), "item batches"):
            answers.update(self._score(batch))
        alone = [place for place in range(len(requests)) if place not in answers]
        own = super()._loglikelihood_tokens([requests[i] for i in alone], True, override_bs)
        answers.update(zip(alone, own, strict=True))
        return [answers[place] for place in range(len(requests))]

    def _shared_items(self, requests: Sequence[TokenRequest]) -> list[Item]:
        """Contexts with several continuations that fit uncut, the longest first."""
        by_context: dict[tuple[int, ...], Item] = {}
        for place, (_, context, continuation) in enumerate(requests):
            if len(context) + len(continuation) <= self.max_length + 1:
                item = by_context.setdefault(tuple(context), Item(tuple(context)))
                item.requests.append(place)
                item.continuations.append(continuation)
        shared = [item for item in by_context.values() if len(item.requests) > 1]
        return sorted(shared, key=lambda item: (-len(item.context), item.context))

    @torch.inference_mode()
    def _score(self, items: Sequence[Item]) -> Iterator[tuple[int, Answer]]:
        """Request number and answer of every continuation of a batch of items."""
        contexts, mask = padded([item.context for item in items], left=True, device=self.device)
        lengths = mask.sum(dim=1)
        read = self.model(
            input_ids=contexts,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=1,
        )
        first = read.logits  # (items, 1, vocabulary): of each continuation's first token
        rows = [(place, c) for place, item in enumerate(items) for c in item.continuations]
        owner = torch.tensor([place for place, _ in rows], device=self.device)
        logits = first[owner]
        if any(len(continuation) > 1 for _, continuation in rows):
            heads, head_mask = padded(
                [c[:-1] or c for _, c in rows], left=False, device=self.device
            )
            read.past_key_values.reorder_cache(owner)
            steps = torch.arange(heads.shape[1], device=self.device)
            later = self.model(
                input_ids=heads,
                attention_mask=torch.cat([mask[owner], head_mask], dim=1),
                position_ids=lengths[owner, None] + steps,
                past_key_values=read.past_key_values,
            ).logits
            logits = torch.cat([logits, later], dim=1)
        log_p = torch.log_softmax(logits, dim=-1, dtype=self.softmax_dtype)
        places = [place for item in items for place in item.requests]
        for place, (_, continuation), row in zip(places, rows, log_p, strict=True):
            asked = torch.tensor(continuation, device=self.device)
            said = row[: len(continuation)]
            total = said.gather(1, asked[:, None]).sum()
            yield place, (float(total), bool((said.argmax(dim=1) == asked).all()))

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Texts in the order of the requests, decoded in batches of similar length."""

        def longest_first(place: int) -> tuple[int, str]:
            context = requests[place].args[0]
            return -len(self.tok_encode(context)), context

        order = sorted(range(len(requests)), key=longest_first)
        starts = range(0, len(order), self.batch_size)
        texts: dict[int, str] = {}
        for start in progress.track(starts, "generation batches"):
            places = order[start : start + self.batch_size]
            said = super().generate_until([requests[place] for place in places], True)
            texts.update(zip(places, said, strict=True))
        return [texts[place] for place in range(len(requests))]


def batches(items: Sequence[Item], n_rows: int) -> Iterator[list[Item]]:
    """Neighbouring items, as many as have `n_rows` continuations together, at least one."""
    batch: list[Item] = []
    taken = 0
    for item in items:
        if batch and taken + len(item.requests) > n_rows:
            yield batch
            batch, taken = [], 0
        batch.append(item)
        taken += len(item.requests)
    if batch:
        yield batch


def padded(
    sequences: Sequence[Sequence[int]], *, left: bool, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Token ids and mask, (sequences, longest): zeros on one side of what is shorter."""
    width = max(map(len, sequences))
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        place = slice(width - len(sequence), width) if left else slice(0, len(sequence))
        ids[row, place] = torch.tensor(sequence)
        mask[row, place] = 1
    return ids.to(device), mask.to(device)
