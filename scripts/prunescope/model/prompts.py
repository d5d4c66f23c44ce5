"""Prompts as a model reads them, and what it answers: greedily, or sampled with shared noise."""

import contextlib
import datetime
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self
from unittest import mock

import jinja2.nodes
import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from prunescope.model import tokenization
from prunescope.model.sampling import GREEDY, SharedNoise
from prunescope.progress import JobError


def prompt_token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a prompt in the model's chat template, or bare where it has none.

    Raises JobError where the template does not render the text, or nothing is left to read.
    """
    if tokenizer.chat_template is None:
        ids = tokenization.text_ids(tokenizer, text, add_special_tokens=True)
    else:
        ids = tokenization.rendered_ids(tokenizer, render(tokenizer, text))
    if not ids:
        raise JobError(f"prompt {text!r} has no token. Write a text that is not empty.")
    return ids


_PROBE = "prunescope asks: is this sentence shown as it is?"
"""A prompt that no template holds by itself."""


def render(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A prompt in the chat template; what looks like a special token is as `hidden` gives it.

    A template may strip white space around the text. Dates are those of `Prompting`; anything else
    that changes from one rendering to the next is refused.

    Raises
    ------
    JobError
        if the template fails, leaves the text out or changes it, or is not reproducible.
    """
    as_content = content_form(tokenizer)
    asked = tokenization.hidden(tokenizer, text)
    messages = [{"role": "user", "content": as_content(asked)}]
    rendered = in_template(tokenizer, messages, add_generation_prompt=True)
    if draws_lots(tokenizer) or rendered != in_template(
        tokenizer, messages, add_generation_prompt=True
    ):
        raise JobError(
            f"the chat template of {tokenizer.name_or_path} renders one prompt in two ways. "
            "Put a template without chance into its folder (chat_template.jinja)."
        )
    if not asked or asked.strip() not in rendered:
        raise _not_shown(tokenizer, text, rendered)
    return rendered


Content = str | list[dict[str, str]]
"""What a message says, as one text or in parts."""


def _in_parts(text: str) -> Content:
    return [{"type": "text", "text": text}]


def content_form(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], Content]:
    """How the chat template reads a text: as it is, or in parts. Raises JobError if in neither."""
    failed: JobError | None = None
    forms: tuple[Callable[[str], Content], ...] = (str, _in_parts)
    for as_content in forms:
        messages = [{"role": "user", "content": as_content(_PROBE)}]
        try:
            rendered = in_template(tokenizer, messages, add_generation_prompt=True)
        except JobError as error:
            failed = failed or error
            continue
        if _PROBE in rendered:
            return as_content
        failed = failed or _not_shown(tokenizer, _PROBE, rendered)
    assert failed
    raise failed


def _not_shown(tokenizer: PreTrainedTokenizerBase, text: str, rendered: str) -> JobError:
    return JobError(
        f"the chat template of {tokenizer.name_or_path} does not contain the prompt {text!r} as it "
        f"is, but renders {rendered[:80]!r}. Put a template that shows the user's text into its "
        "folder (chat_template.jinja), or write another prompt."
    )


def draws_lots(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a chat template calls what changes from one rendering or process to the next.

    Jinja's `random` and `lipsum` draw lots; functions and objects are shown with their addresses.
    """
    rendered = in_template(
        tokenizer, [{"role": "user", "content": content_form(tokenizer)(_PROBE)}], True
    )
    template = chat_template_utils._compile_jinja_template(tokenizer.get_chat_template())
    parsed = template.environment.parse(tokenizer.get_chat_template())
    filters = {each.name for each in parsed.find_all(jinja2.nodes.Filter)}
    names = {each.name for each in parsed.find_all(jinja2.nodes.Name)}
    address = re.search(r"<[^<>]*(<locals>[^<>]*)?\bat 0x[0-9a-f]+>", rendered)
    return "random" in filters or "lipsum" in names or address is not None


def in_template(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    add_generation_prompt: bool = False,
) -> str:
    """Messages in the model's chat template, on the date of `Prompting`. Raises JobError."""
    prompting = getattr(tokenizer, "prompting", None) or tokenization.Prompting()
    with _on(prompting.date):
        try:
            return str(
                tokenizer.apply_chat_template(
                    messages,
                    add_generation_prompt=add_generation_prompt,
                    tokenize=False,
                    **prompting.chat_template_kwargs,
                )
            )
        except Exception as error:  # a template is a program of its own
            raise JobError(
                f"the chat template of {tokenizer.name_or_path} does not render a single user "
                f"message: {_first_line(error)}. Put a template that does into its folder "
                "(chat_template.jinja), or set `prompting: {chat_template_kwargs: ...}`."
            ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _on(date: str) -> Iterator[None]:
    """While open, `strftime_now` of chat templates tells this day, at midnight.

    transformers hands templates no other clock, and takes none as an argument.
    """
    frozen = datetime.datetime.fromisoformat(date)

    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return cls.fromisoformat(frozen.isoformat())

    with mock.patch.object(chat_template_utils, "datetime", Frozen):
        yield


def opens_thinking(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> bool:
    """Whether a prompt ends inside a thinking text, which a template may open by itself."""
    text = str(tokenizer.decode(list(token_ids)))
    return any(text.rfind(begin) > text.rfind(end) for begin, end in _THINKING)


_THINKING = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
)
"""How chat models mark where a thinking text begins and ends."""


class Asked(NamedTuple):
    """One answer to be written: to which prompt, by its id in config, and how it is decoded."""

    prompt: str
    sampling_temperature: float
    token_ids: Sequence[int]


@torch.inference_mode()
def answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[Asked],
    max_new_tokens: int,
    seed: int,
) -> list[list[int]]:
    """What the model writes after each prompt, all of them in one batch.

    Each answer ends with the end-of-text token the model wrote, or after `max_new_tokens`.
    The checkpoint's own settings for decoding are left out: a repetition penalty is not argmax.
    A model without an end of text writes as many tokens as it may. Raises JobError for tokens
    without an embedding.
    """
    rows = int(model.get_input_embeddings().weight.shape[0])
    for each in asked:
        tokenization.check_ids(each.token_ids, rows, f"prompt {each.prompt}")
    ids, mask = padded([each.token_ids for each in asked], left=True, device=model.device)
    ends = end_of_text(model, tokenizer)
    decode_by_argmax(model)
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=ends or None, pad_token_id=0
    )
    longest = ids.shape[1]
    noise = SharedNoise([(each.prompt, each.sampling_temperature) for each in asked], seed, longest)
    written = model.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=config,
        logits_processor=LogitsProcessorList([noise]),
    )
    return [until_end(answer, ends) for answer in written[:, longest:].tolist()]


def decode_by_argmax(model: Any) -> None:
    """Leave nothing of the checkpoint's generation config but the tokens that end a text.

    Whatever is asked of `generate`, transformers fills in the rest from there: a repetition
    penalty, a forced token, beams.
    """
    own = getattr(model, "generation_config", None)
    if own is not None:
        model.generation_config = GenerationConfig(
            bos_token_id=own.bos_token_id,
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id,
        )


def check_lengths(asked: Sequence[Asked], max_new_tokens: int, longest: int | None) -> None:
    """Raise JobError where a prompt and its answer need more positions than the model has."""
    for each in asked:
        needed = len(each.token_ids) + max_new_tokens
        if longest is not None and needed > longest:
            raise JobError(
                f"prompt {each.prompt} has {len(each.token_ids)} tokens and its answer up to "
                f"{max_new_tokens}, but the model reads at most {longest}. Shorten the prompt, or "
                "set a smaller decoding/max_new_tokens."
            )


def padded(
    sequences: Sequence[Sequence[int]], *, left: bool, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (sequences, longest): zeros on one side of what is shorter."""
    width = max(map(len, sequences))
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        place = slice(width - len(sequence), width) if left else slice(0, len(sequence))
        ids[row, place] = torch.tensor(list(sequence))
        mask[row, place] = 1
    return ids.to(device), mask.to(device)


def end_of_text(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens at which the model stops: its generation config's, else the tokenizer's, or none."""
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    return [ids] if isinstance(ids, int) else list(ids or ())


def until_end(answer: Sequence[int], ends: Collection[int]) -> list[int]:
    """The answer up to and including its first end-of-text token; padding follows that."""
    for length, token in enumerate(answer, start=1):
        if token in ends:
            return list(answer[:length])
    return list(answer)


def greedy(answers: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The greedy ones among rows of `dense_answer`."""
    return [answer for answer in answers if answer["sampling_temperature"] == GREEDY]


def context_of(answer: Mapping[str, Any], steps: int | None = None) -> tuple[list[int], int]:
    """Tokens a model reads to write an answer, a row of `dense_answer`, and where step 0 is read.

    The answer's last token is written and not read; step 0 is read at the last prompt token. Of a
    longer answer as many `steps`.
    """
    prompt = answer["prompt_token_ids"]
    return prompt + answer["answer_token_ids"][:steps][:-1], len(prompt) - 1


def as_rows(
    prompts: Mapping[str, Mapping[str, str]],
    asked: Sequence[Asked],
    answers: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
) -> list[dict[str, object]]:
    """Prompts and answers as rows of `dense_answer`."""
    return [
        {
            "prompt": each.prompt,
            "kind": prompts[each.prompt]["kind"],
            "text": prompts[each.prompt]["text"],
            "sampling_temperature": each.sampling_temperature,
            "rendered": str(tokenizer.decode(list(each.token_ids))),
            "prompt_token_ids": list(each.token_ids),
            "answer_token_ids": list(answer),
            "answer_text": tokenizer.decode(list(answer), skip_special_tokens=True),
            "stopped": answer[-1] in ends,
        }
        for each, answer in zip(asked, answers, strict=True)
    ]
