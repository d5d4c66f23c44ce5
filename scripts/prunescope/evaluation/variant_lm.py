"""A variant as lm-eval's model: the model object in memory, each context read once.

Everything but the two passes below is lm-eval's own `HFLM`: tokens, truncation, stop sequences.
"""

import bisect
import copy
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from prunescope import finite, progress
from prunescope.model import loading, prompts, tokenization
from prunescope.model.prompts import padded
from prunescope.progress import JobError

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


class Written(NamedTuple):
    """What a model wrote to one request: its tokens up to the one that ended it, at least one."""

    token_ids: list[int]
    stopped: bool
    """False where it was cut at the length asked for."""


LEAST_SHARED = 16
"""Tokens below which a common start of contexts is not worth a pass of its own."""


STEP_COST = 12
"""Tokens that are read in the time of one decoding step of a small batch (SmolLM2 on a core)."""


class VariantLM(HFLM):  # type: ignore[misc]  # lm-eval is typed in part
    """lm-eval's Hugging Face model over a variant that is loaded already."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, batch_size: int) -> None:
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            backend="causal",
            batch_size=batch_size,
            max_length=loading.positions_of(model.config.to_dict()),
            trust_remote_code=False,
        )
        self.written: dict[str, Written] = {}
        self.cut: set[str] = set()
        """Contexts that did not fit the model's positions, so that lm-eval cut their beginning."""
        self._generated: list[list[int]] = []
        self._start: list[int] = []
        self._read_start: Any = None
        self._ends = prompts.end_of_text(model, tokenizer)
        prompts.decode_by_argmax(model)

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **_: object,
    ) -> list[int]:
        """Token ids as every stage reads a text; lm-eval's own takes a text "<s> …" for rendered.

        Raises JobError for tokens without an embedding.
        """
        ids = tokenization.text_ids(
            self.tokenizer, string, add_special_tokens=add_special_tokens is not False
        )
        rows = int(self.model.get_input_embeddings().weight.shape[0])
        tokenization.check_ids(ids, rows, f"the text {string[-60:]!r}")
        return ids[-left_truncate_len:] if left_truncate_len else ids

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Token ids and mask, (texts, longest); each text as `tok_encode` reads it by itself."""
        rows = [self.tok_encode(string, None, left_truncate_len) for string in strings]
        ids, mask = padded(rows, left=padding_side == "left", device=torch.device("cpu"))
        return ids.masked_fill(mask == 0, self.tokenizer.pad_token_id or 0), mask

    @property
    def eot_token_id(self) -> int | None:
        """The token that ends a text; None where neither tokenizer nor model has one."""
        end: int | None = self.tokenizer.eos_token_id
        return self._ends[0] if end is None and self._ends else end

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> Any:
        """The text of tokens; None, the end of text of a model without one, has no text."""
        return None if tokens is None else super().tok_decode(tokens, skip_special_tokens)

    @property
    def prefix_token_id(self) -> int:
        """What a text without a context follows. Raises JobError where there is no such token."""
        begin = self.tokenizer.bos_token_id
        prefix = self.eot_token_id if begin is None else begin
        if prefix is None:
            raise JobError(
                "a task asks for the likelihood of a text after nothing, but the tokenizer names "
                "neither a begin nor an end of text to put before it. Leave the task out."
            )
        return int(prefix)

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
        self.cut.update(
            texts[0]
            for texts, context, continuation in requests
            if texts and len(context) + len(continuation) > self.max_length + 1
        )
        items = [] if override_bs is not None else self._shared_items(requests)
        answers: dict[int, Answer] = {}
        for batch in progress.track(list(batches(items, self.batch_size)), "item batches"):
            answers.update(self._score(batch))
        alone = [place for place in range(len(requests)) if place not in answers]
        own = super()._loglikelihood_tokens([requests[i] for i in alone], True, override_bs)
        answers.update(zip(alone, own, strict=True))
        for place, (log_likelihood, _) in answers.items():
            context, continuation = requests[place][0] or ("", "a whole text")
            finite.checked(
                log_likelihood, f"log-likelihoods of {continuation!r} after {context[-60:]!r}"
            )
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
        """Texts in the order of the requests, decoded in batches of similar length.

        What all contexts begin with (solved examples) is read once. The tokens of the texts are
        kept in `written`, by context.
        """
        contexts = [self.tok_encode(request.args[0]) for request in requests]
        lengths = [len(context) for context in contexts]
        for request, length in zip(requests, lengths, strict=True):
            if length + request.args[1].get("max_gen_toks", self.max_gen_toks) > self.max_length:
                self.cut.add(request.args[0])
        self._start, self._read_start = self._common_start(contexts), None
        order = sorted(
            range(len(requests)), key=lambda place: (-lengths[place], requests[place].args[0])
        )
        new = max((r.args[1].get("max_gen_toks", self.max_gen_toks) for r in requests), default=0)
        together = alike([lengths[place] for place in order], self.batch_size, STEP_COST * new)
        texts: dict[int, str] = {}
        for some in progress.track(together, "generation batches"):
            places = order[some]
            self._generated.clear()
            said = super().generate_until([requests[place] for place in places], True)
            texts.update(zip(places, said, strict=True))
            for place, text, token_ids in zip(places, said, self._generated, strict=True):
                tokens = written(text, token_ids, self._ends, self.tok_decode)
                self.written[requests[place].args[0]] = tokens
        return [texts[place] for place in range(len(requests))]

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **settings: Any
    ) -> Tensor:
        """As lm-eval's, but the common start of all contexts is not read again.

        Parameters
        ----------
        context : token ids, (sequences, longest), zeros of the mask on the left.
        """
        mask = settings.pop("attention_mask")
        if self._start and begin_with(self._start, context, mask):
            order = shared_first(mask, len(self._start))
            context, mask = context.gather(1, order), mask.gather(1, order)
            settings["past_key_values"] = self._after_start(len(context))
        said: Tensor = super()._model_generate(
            context,
            max_length,
            stop,
            attention_mask=mask,
            logits_processor=LogitsProcessorList([FiniteLogits(len(context), context.shape[1])]),
            **settings,
        )
        self._generated += said[:, context.shape[1] :].tolist()
        return said

    def _common_start(self, contexts: Sequence[list[int]]) -> list[int]:
        """Tokens all contexts begin with, short of each one's last; none where too few to share.

        None either where attention looks back a fixed number of places: padding would take some.
        """
        columns = zip(*(context[:-1] for context in contexts), strict=False)
        common = itertools.takewhile(lambda column: len(set(column)) == 1, columns)
        start = [column[0] for column in common]
        slides = getattr(self.config, "sliding_window", None) is not None
        worth_it = len(contexts) > 1 and len(start) >= LEAST_SHARED and not slides
        return start if worth_it else []

    @torch.inference_mode()
    def _after_start(self, n_sequences: int) -> Any:
        """Keys and values of the common start, for so many sequences that go on from there."""
        if self._read_start is None:
            start = torch.tensor([self._start], device=self.device)
            read = self.model(input_ids=start, use_cache=True, logits_to_keep=1)
            self._read_start = read.past_key_values
        keys_and_values = copy.deepcopy(self._read_start)
        keys_and_values.batch_repeat_interleave(n_sequences)
        return keys_and_values


class FiniteLogits(LogitsProcessor):
    """Leaves logits as they are; raises NotFinite where a row has no likeliest token.

    Parameters
    ----------
    rows : requests in the batch. read : tokens of their padded contexts.
    """

    def __init__(self, rows: int, read: int) -> None:
        self.rows, self.read = rows, read

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits (rows, vocab), unchanged."""
        step = input_ids.shape[1] - self.read
        finite.checked(scores.amax(-1), f"step {step} of {self.rows} generated texts: logits")
        return scores


def written(
    text: str, token_ids: Sequence[int], ends: Collection[int], decode: Callable[..., str]
) -> Written:
    """The tokens of a text that lm-eval cut at a stop sequence, as far as they belong to it.

    Parameters
    ----------
    text : as lm-eval gives it.
    token_ids : all that was generated in its row of the batch, which goes on until every row ends.
    ends : tokens that end a text.
    """
    until = prompts.until_end(token_ids, ends)
    lengths = range(len(until) + 1)
    beyond = bisect.bisect_right(lengths, len(text), key=lambda n: len(decode(until[:n])))
    return Written(until[:beyond], beyond < len(lengths) or until[-1] in ends)


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


def alike(lengths: Sequence[int], n_rows: int, most_padding: int) -> list[slice]:
    """Batches of at most `n_rows` texts, the longest first, with bounded padding.

    Another batch costs its decoding steps, padding costs reading: `most_padding` tokens weigh as
    much.
    """
    batches: list[slice] = []
    start = 0
    for stop in range(1, len(lengths) + 1):
        following = lengths[start : stop + 1]
        padding = following[0] * len(following) - sum(following)
        if stop == len(lengths) or len(following) > n_rows or padding > most_padding:
            batches.append(slice(start, stop))
            start = stop
    return batches


def begin_with(start: Sequence[int], ids: Tensor, mask: Tensor) -> bool:
    """Whether every sequence begins with these tokens and goes on after them.

    Parameters
    ----------
    ids, mask : (sequences, longest), padded on the left.
    """
    begun = torch.tensor(start, device=ids.device)
    rows = (row[kept] for row, kept in zip(ids, mask.bool(), strict=True))
    return all(len(row) > len(begun) and torch.equal(row[: len(begun)], begun) for row in rows)


def shared_first(mask: Tensor, n_shared: int) -> Tensor:
    """For each sequence the columns in the order: common start, padding, the rest.

    Parameters
    ----------
    mask : (sequences, longest), padded on the left.
    """
    n_padding = mask.shape[1] - mask.sum(dim=1, keepdim=True)
    column = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    padding = column < n_shared + n_padding
    moved = torch.where(padding, column - n_shared, column)
    return torch.where(column < n_shared, column + n_padding, moved)
