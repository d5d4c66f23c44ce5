"""A variant as a model for lm-eval, which reads every context only once.

Everything except the forward passes below comes from `HFLM` of lm-eval: truncation, stop sequences
and so on.
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
"""(Context and continuation) as texts, token ids of the context, and of the continuation."""

Answer = tuple[float, bool]
"""Log-likelihood of a continuation in nats, and whether greedy decoding would generate it."""


@dataclass(frozen=True)
class Item:
    """A context with all requested continuations, and the indices of their requests."""

    context: tuple[int, ...]
    requests: list[int] = field(default_factory=list)
    continuations: list[list[int]] = field(default_factory=list)


class Written(NamedTuple):
    """Generated tokens for a request, up to the one that ends the text; at least one."""

    token_ids: list[int]
    stopped: bool
    """False if the text reached the maximum length."""


LEAST_SHARED = 16
"""Smallest number of common tokens for which a separate forward pass pays off."""


STEP_COST = 12
"""Tokens read in the time of one decoding step of a small batch (SmolLM2 on one core)."""


class VariantLM(HFLM):  # type: ignore[misc]  # lm-eval is typed in part
    """lm-eval's Hugging Face model for a variant that is already loaded."""

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
        """Contexts that did not fit the model's positions; lm-eval truncates their beginning."""
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
        """Token ids of a text, as in all other stages.

        lm-eval would recognise special tokens in the text, such as "<s>". Raises JobError if a
        token has no embedding.

        Parameters
        ----------
        string : the text.
        add_special_tokens : False to leave out the special tokens that the tokenizer adds.
        left_truncate_len : number of tokens to keep, the last ones; None for all.
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
        """Token ids and mask, (texts, longest); each text is encoded by `tok_encode`.

        Parameters
        ----------
        strings : the texts.
        padding_side : `left` or `right`.
        left_truncate_len : number of tokens to keep per text, the last ones; None for all.
        truncation : whether texts beyond the context of the model are truncated.
        """
        rows = [self.tok_encode(string, None, left_truncate_len) for string in strings]
        ids, mask = padded(rows, left=padding_side == "left", device=torch.device("cpu"))
        return ids.masked_fill(mask == 0, self.tokenizer.pad_token_id or 0), mask

    @property
    def eot_token_id(self) -> int | None:
        """The end-of-text token; None if neither tokenizer nor model has one."""
        end: int | None = self.tokenizer.eos_token_id
        return self._ends[0] if end is None and self._ends else end

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> Any:
        """The text of token ids; None for None, the end-of-text token of a model without one."""
        return None if tokens is None else super().tok_decode(tokens, skip_special_tokens)

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without context. Raises JobError if there is none."""
        begin = self.tokenizer.bos_token_id
        prefix = self.eot_token_id if begin is None else begin
        if prefix is None:
            raise JobError(
                "a task asks for the likelihood of a text without context, but the tokenizer has "
                "neither a begin nor an end of text to put before it. Leave the task out."
            )
        return int(prefix)

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[Answer]:
        """As in lm-eval, but without its progress bar."""
        answers: list[Answer] = super().loglikelihood(requests, True)
        return answers

    def _loglikelihood_tokens(
        self,
        requests: Sequence[TokenRequest],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Answer]:
        """Answers in the order of the requests; requests with the same context share its cache.

        Requests that share no context, or are truncated to the model's positions, are left to
        lm-eval.
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
        remaining = [index for index in range(len(requests)) if index not in answers]
        remaining_answers = super()._loglikelihood_tokens(
            [requests[i] for i in remaining], True, override_bs
        )
        answers.update(zip(remaining, remaining_answers, strict=True))
        for index, (log_likelihood, _) in answers.items():
            context, continuation = requests[index][0] or ("", "a whole text")
            finite.checked(
                log_likelihood, f"log-likelihoods of {continuation!r} after {context[-60:]!r}"
            )
        return [answers[index] for index in range(len(requests))]

    def _shared_items(self, requests: Sequence[TokenRequest]) -> list[Item]:
        """Contexts with several continuations that fit without truncation, the longest first."""
        by_context: dict[tuple[int, ...], Item] = {}
        for index, (_, context, continuation) in enumerate(requests):
            if len(context) + len(continuation) <= self.max_length + 1:
                item = by_context.setdefault(tuple(context), Item(tuple(context)))
                item.requests.append(index)
                item.continuations.append(continuation)
        shared = [item for item in by_context.values() if len(item.requests) > 1]
        return sorted(shared, key=lambda item: (-len(item.context), item.context))

    @torch.inference_mode()
    def _score(self, items: Sequence[Item]) -> Iterator[tuple[int, Answer]]:
        """Yield request index and answer of every continuation in a batch of items."""
        contexts, mask = padded([item.context for item in items], left=True, device=self.device)
        lengths = mask.sum(dim=1)
        context_pass = self.model(
            input_ids=contexts,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=1,
        )
        first = (
            context_pass.logits
        )  # (items, 1, vocabulary), for the first token of each continuation
        rows = [(index, c) for index, item in enumerate(items) for c in item.continuations]
        item_of_row = torch.tensor([index for index, _ in rows], device=self.device)
        logits = first[item_of_row]
        if any(len(continuation) > 1 for _, continuation in rows):
            inputs, input_mask = padded(
                [c[:-1] or c for _, c in rows], left=False, device=self.device
            )
            context_pass.past_key_values.reorder_cache(item_of_row)
            steps = torch.arange(inputs.shape[1], device=self.device)
            later = self.model(
                input_ids=inputs,
                attention_mask=torch.cat([mask[item_of_row], input_mask], dim=1),
                position_ids=lengths[item_of_row, None] + steps,
                past_key_values=context_pass.past_key_values,
            ).logits
            logits = torch.cat([logits, later], dim=1)
        log_p = torch.log_softmax(logits, dim=-1, dtype=self.softmax_dtype)
        request_indices = [index for item in items for index in item.requests]
        for index, (_, continuation), row in zip(request_indices, rows, log_p, strict=True):
            tokens = torch.tensor(continuation, device=self.device)
            token_log_p = row[: len(continuation)]
            total = token_log_p.gather(1, tokens[:, None]).sum()
            yield index, (float(total), bool((token_log_p.argmax(dim=1) == tokens).all()))

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Texts in the order of the requests, decoded in batches of similar length.

        The common start of all contexts (solved examples) is read only once. The tokens of the
        texts are stored in `written`, by context.
        """
        contexts = [self.tok_encode(request.args[0]) for request in requests]
        lengths = [len(context) for context in contexts]
        for request, length in zip(requests, lengths, strict=True):
            if length + request.args[1].get("max_gen_toks", self.max_gen_toks) > self.max_length:
                self.cut.add(request.args[0])
        self._start, self._read_start = self._common_start(contexts), None
        order = sorted(
            range(len(requests)), key=lambda index: (-lengths[index], requests[index].args[0])
        )
        max_new_tokens = max(
            (r.args[1].get("max_gen_toks", self.max_gen_toks) for r in requests), default=0
        )
        batches = batches_of_similar_length(
            [lengths[index] for index in order], self.batch_size, STEP_COST * max_new_tokens
        )
        texts: dict[int, str] = {}
        for batch in progress.track(batches, "generation batches"):
            indices = order[batch]
            self._generated.clear()
            batch_texts = super().generate_until([requests[index] for index in indices], True)
            texts.update(zip(indices, batch_texts, strict=True))
            for index, text, token_ids in zip(indices, batch_texts, self._generated, strict=True):
                tokens = written(text, token_ids, self._ends, self.tok_decode)
                self.written[requests[index].args[0]] = tokens
        return [texts[index] for index in range(len(requests))]

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **settings: Any
    ) -> Tensor:
        """As in lm-eval, but the common start of all contexts is not read again.

        Parameters
        ----------
        context : token ids, (sequences, longest), padded on the left.
        """
        mask = settings.pop("attention_mask")
        if self._start and all_begin_with(self._start, context, mask):
            order = common_start_first(mask, len(self._start))
            context, mask = context.gather(1, order), mask.gather(1, order)
            settings["past_key_values"] = self._after_start(len(context))
        token_ids: Tensor = super()._model_generate(
            context,
            max_length,
            stop,
            attention_mask=mask,
            logits_processor=LogitsProcessorList([FiniteLogits(len(context), context.shape[1])]),
            **settings,
        )
        self._generated += token_ids[:, context.shape[1] :].tolist()
        return token_ids

    def _common_start(self, contexts: Sequence[list[int]]) -> list[int]:
        """Tokens that all contexts begin with, without the last token of any; may be empty.

        Empty if they are too few to pay off. Also empty if attention has a sliding window, because
        padding would take up positions of the window.
        """
        columns = zip(*(context[:-1] for context in contexts), strict=False)
        common = itertools.takewhile(lambda column: len(set(column)) == 1, columns)
        start = [column[0] for column in common]
        slides = getattr(self.config, "sliding_window", None) is not None
        worth_it = len(contexts) > 1 and len(start) >= LEAST_SHARED and not slides
        return start if worth_it else []

    @torch.inference_mode()
    def _after_start(self, n_sequences: int) -> Any:
        """Keys and values of the common start, repeated for `n_sequences` that continue it."""
        if self._read_start is None:
            start = torch.tensor([self._start], device=self.device)
            start_pass = self.model(input_ids=start, use_cache=True, logits_to_keep=1)
            self._read_start = start_pass.past_key_values
        keys_and_values = copy.deepcopy(self._read_start)
        keys_and_values.batch_repeat_interleave(n_sequences)
        return keys_and_values


class FiniteLogits(LogitsProcessor):
    """Logits processor that changes nothing, but raises NotFinite if a row has no largest logit.

    Parameters
    ----------
    rows : number of requests in the batch.
    read : number of tokens of their padded contexts.
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
    """The tokens of a text that lm-eval cut at a stop sequence.

    Parameters
    ----------
    text : the text returned by lm-eval.
    token_ids : all tokens generated in its row; generation continues until every row has ended.
    ends : end-of-text tokens.
    decode : maps token ids to text.
    """
    kept = prompts.until_end(token_ids, ends)
    lengths = range(len(kept) + 1)
    n_tokens = bisect.bisect_right(lengths, len(text), key=lambda n: len(decode(kept[:n])))
    return Written(kept[:n_tokens], n_tokens < len(lengths) or kept[-1] in ends)


def batches(items: Sequence[Item], n_rows: int) -> Iterator[list[Item]]:
    """Yield batches of consecutive items with at most `n_rows` continuations, or of one item."""
    batch: list[Item] = []
    n_continuations = 0
    for item in items:
        if batch and n_continuations + len(item.requests) > n_rows:
            yield batch
            batch, n_continuations = [], 0
        batch.append(item)
        n_continuations += len(item.requests)
    if batch:
        yield batch


def batches_of_similar_length(
    lengths: Sequence[int], n_rows: int, most_padding: int
) -> list[slice]:
    """Divide texts into batches of at most `n_rows`, each with at most `most_padding` padding.

    A further batch costs decoding steps, and padding costs reading time; `most_padding` is the
    number of tokens at which both cost the same.

    Parameters
    ----------
    lengths : lengths of the texts in tokens, descending.
    n_rows : largest number of texts per batch.
    most_padding : largest number of padding tokens per batch.
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


def all_begin_with(start: Sequence[int], ids: Tensor, mask: Tensor) -> bool:
    """Whether every sequence begins with the tokens `start` and continues after them.

    Parameters
    ----------
    ids, mask : (sequences, longest), padded on the left.
    """
    begun = torch.tensor(start, device=ids.device)
    rows = (row[kept] for row, kept in zip(ids, mask.bool(), strict=True))
    return all(len(row) > len(begun) and torch.equal(row[: len(begun)], begun) for row in rows)


def common_start_first(mask: Tensor, n_shared: int) -> Tensor:
    """For each sequence, the order of columns that puts the common start before the padding.

    Parameters
    ----------
    mask : (sequences, longest), padded on the left.
    n_shared : number of tokens of the common start.
    """
    n_padding = mask.shape[1] - mask.sum(dim=1, keepdim=True)
    column = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    padding = column < n_shared + n_padding
    source = torch.where(padding, column - n_shared, column)
    return torch.where(column < n_shared, column + n_padding, source)
