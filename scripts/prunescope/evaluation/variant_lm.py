"""A variant as a model for lm-eval, which reads every context only once.

Everything except the forward passes below comes from `HFLM` of lm-eval: truncation, stop sequences
and so on.
"""

import bisect
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from prunescope import finite, progress
from prunescope.evaluation import batch_writing, packed_scoring
from prunescope.evaluation.batch_writing import groups_of_similar_length
from prunescope.evaluation.packed_scoring import Answer, Item
from prunescope.model import loading, prompts, tokenization
from prunescope.model.prompts import padded
from prunescope.progress import JobError

TokenRequest = tuple[tuple[str, str], list[int], list[int]]
"""(Context and continuation) as texts, token ids of the context, and of the continuation."""


class Written(NamedTuple):
    """Generated tokens for a request, up to the one that ends the text; at least one."""

    token_ids: list[int]
    stopped: bool
    """False if the text reached the maximum length."""


LEAST_SHARED = 16
"""Smallest number of common tokens for which a separate forward pass pays off."""

PASS_COST = 48
"""Tokens read in the time that a pass of its own costs a group of contexts (SmolLM2, one core)."""


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
        """Answers in the order of the requests, which are read in packs.

        Requests that are truncated to the model's positions, or that sliding attention would not
        see as a whole, are left to lm-eval.
        """
        self.cut.update(
            texts[0]
            for texts, context, continuation in requests
            if texts and len(context) + len(continuation) > self.max_length + 1
        )
        items = [] if override_bs is not None else self._items(requests)
        answers: dict[int, Answer] = {}
        for pack in progress.track(list(packed_scoring.packs(items)), "packs of items"):
            answers.update(packed_scoring.answers(self.model, pack, self.softmax_dtype))
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

    @property
    def _window(self) -> int | None:
        """Tokens that sliding attention sees; None if all attention sees the whole text."""
        window: int | None = getattr(self.config, "sliding_window", None)
        return window

    def _items(self, requests: Sequence[TokenRequest]) -> list[Item]:
        """Contexts with their continuations, the longest first, as far as they fit as a whole."""
        longest = min(self.max_length + 1, self._window or self.max_length + 1)
        by_context: dict[tuple[int, ...], Item] = {}
        for index, (_, context, continuation) in enumerate(requests):
            if len(context) + len(continuation) <= longest:
                item = by_context.setdefault(tuple(context), Item(tuple(context)))
                item.requests.append(index)
                item.continuations.append(continuation)
        return sorted(by_context.values(), key=lambda item: (-item.n_tokens, item.context))

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Texts in the order of the requests, written in batches of `batch_size`.

        The common start of the contexts of a batch (solved examples) is read only once. The tokens
        of the texts are stored in `written`, by context.
        """
        contexts = [self.tok_encode(request.args[0]) for request in requests]
        lengths = [len(context) for context in contexts]
        for request, length in zip(requests, lengths, strict=True):
            if length + request.args[1].get("max_gen_toks", self.max_gen_toks) > self.max_length:
                self.cut.add(request.args[0])
        order = sorted(
            range(len(requests)), key=lambda index: (-lengths[index], requests[index].args[0])
        )
        texts: dict[int, str] = {}
        for start in range(0, len(order), self.batch_size):
            indices = order[start : start + self.batch_size]
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
        """Token ids of contexts and texts, (sequences, longest), padded on both sides.

        Texts are decoded here if decoding is greedy, and by lm-eval if a task asks for more.

        Parameters
        ----------
        context : token ids, (sequences, longest), padded on the left.
        max_length : length of the contexts and of the longest text allowed.
        stop : texts with which a text ends.
        settings : `attention_mask`, and what else the task sets for decoding.
        """
        n_read = context.shape[1]
        asked = {name: value for name, value in settings.items() if name != "attention_mask"}
        if not _GREEDY.items() >= asked.items():
            whole: Tensor = super()._model_generate(context, max_length, stop, **settings)
            self._generated += whole[:, n_read:].tolist()
            return whole
        masks = settings["attention_mask"].bool()
        contexts = [row[kept].tolist() for row, kept in zip(context, masks, strict=True)]
        n_shared = len(batch_writing.common_start(contexts)) if len(contexts) > 1 else 0
        groups = groups_of_similar_length(list(map(len, contexts)), PASS_COST)
        slides = self._window is not None
        texts = batch_writing.texts_after(
            self.model,
            contexts,
            [slice(0, len(contexts))] if slides else groups,
            0 if slides or n_shared < LEAST_SHARED else n_shared,
            max_length - n_read,
            lambda text: text[-1] in self._ends or self._holds(stop, text),
        )
        self._generated += texts
        longest = max(map(len, texts))
        filler = self.tokenizer.pad_token_id
        rows = [text + [filler] * (longest - len(text)) for text in texts]
        return torch.cat([context, torch.tensor(rows, device=context.device)], dim=1)

    def _holds(self, stop: Sequence[str], text: Sequence[int]) -> bool:
        decoded = self.tokenizer.decode(text)
        return any(end in decoded for end in stop)


_GREEDY = {"do_sample": False, "temperature": 0.0}
"""Settings of a task for decoding that ask for no more than the most likely token of each step."""


def written(
    text: str, token_ids: Sequence[int], ends: Collection[int], decode: Callable[..., str]
) -> Written:
    """The tokens of a text that lm-eval cut at a stop sequence.

    Parameters
    ----------
    text : the text returned by lm-eval.
    token_ids : all tokens generated in its row, which may go on after its end.
    ends : end-of-text tokens.
    decode : maps token ids to text.
    """
    kept = prompts.until_end(token_ids, ends)
    lengths = range(len(kept) + 1)
    n_tokens = bisect.bisect_right(lengths, len(text), key=lambda n: len(decode(kept[:n])))
    return Written(kept[:n_tokens], n_tokens < len(lengths) or kept[-1] in ends)
