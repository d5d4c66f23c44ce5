"""Render prompts with chat templates, and generate answers, greedily or with shared noise."""

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
    """Token ids of a prompt in the chat template, or of the plain text if there is no template.

    Raises JobError if the template does not render the text, or there are no tokens.
    """
    if tokenizer.chat_template is None:
        ids = tokenization.text_ids(tokenizer, text, add_special_tokens=True)
    else:
        ids = tokenization.rendered_ids(tokenizer, render(tokenizer, text))
    if not ids:
        raise JobError(f"prompt {text!r} has no token. Write a text that is not empty.")
    return ids


_TEST_PROMPT = "prunescope asks: is this sentence shown as it is?"
"""A prompt that appears in no template, to test whether a template shows the prompt."""


def render(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Render a prompt with the chat template. Special tokens in the text are replaced by `hidden`.

    A template may strip white space around the text. The date is that of `Prompting`; a template
    whose output changes in any other way is refused.

    Raises
    ------
    JobError
        if the template fails, leaves the text out or changes it, or is not reproducible.
    """
    as_content = content_form(tokenizer)
    protected_text = tokenization.hidden(tokenizer, text)
    messages = [{"role": "user", "content": as_content(protected_text)}]
    rendered = in_template(tokenizer, messages, add_generation_prompt=True)
    if is_random(tokenizer) or rendered != in_template(
        tokenizer, messages, add_generation_prompt=True
    ):
        raise JobError(
            f"the chat template of {tokenizer.name_or_path} does not always render a prompt "
            "in the same way. Put a deterministic template into its folder (chat_template.jinja)."
        )
    if not protected_text or protected_text.strip() not in rendered:
        raise _not_shown(tokenizer, text, rendered)
    return rendered


Content = str | list[dict[str, str]]
"""The content of a message: a text, or a list of parts."""


def _in_parts(text: str) -> Content:
    return [{"type": "text", "text": text}]


def content_form(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], Content]:
    """The form in which the chat template accepts a text: a text, or a list of parts.

    Raises JobError if it accepts neither.
    """
    first_error: JobError | None = None
    forms: tuple[Callable[[str], Content], ...] = (str, _in_parts)
    for as_content in forms:
        messages = [{"role": "user", "content": as_content(_TEST_PROMPT)}]
        try:
            rendered = in_template(tokenizer, messages, add_generation_prompt=True)
        except JobError as error:
            first_error = first_error or error
            continue
        if _TEST_PROMPT in rendered:
            return as_content
        first_error = first_error or _not_shown(tokenizer, _TEST_PROMPT, rendered)
    assert first_error
    raise first_error


def _not_shown(tokenizer: PreTrainedTokenizerBase, text: str, rendered: str) -> JobError:
    return JobError(
        f"the chat template of {tokenizer.name_or_path} does not contain the prompt {text!r} as it "
        f"is, but renders {rendered[:80]!r}. Put a template that shows the user's text into its "
        "folder (chat_template.jinja), or write another prompt."
    )


def is_random(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a chat template may render differently from one call or process to the next.

    Jinja's `random` and `lipsum` are random, and functions and objects are rendered with their
    memory addresses.
    """
    rendered = in_template(
        tokenizer, [{"role": "user", "content": content_form(tokenizer)(_TEST_PROMPT)}], True
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
    """Render messages with the chat template, on the date of `Prompting`.

    Raises JobError if the template fails.

    Parameters
    ----------
    tokenizer : the tokenizer, with its template.
    messages : role and content of each message.
    add_generation_prompt : whether the start of the answer is added.
    """
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
        except Exception as error:  # a template is a program and may raise any error
            raise JobError(
                f"the chat template of {tokenizer.name_or_path} does not render a single user "
                f"message: {_first_line(error)}. Put a template that does into its folder "
                "(chat_template.jinja), or set `prompting: {chat_template_kwargs: ...}`."
            ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _on(date: str) -> Iterator[None]:
    """Within the context, `strftime_now` in chat templates returns this day, at midnight.

    It is the only clock that transformers gives to templates, and it cannot be set by an argument.
    """
    frozen = datetime.datetime.fromisoformat(date)

    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return cls.fromisoformat(frozen.isoformat())

    with mock.patch.object(chat_template_utils, "datetime", Frozen):
        yield


def opens_thinking(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> bool:
    """Whether a prompt ends within a thinking section, which some templates begin."""
    text = str(tokenizer.decode(list(token_ids)))
    return any(text.rfind(begin) > text.rfind(end) for begin, end in _THINKING)


_THINKING = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
)
"""The marks with which chat models begin and end a thinking section."""


class Asked(NamedTuple):
    """A request for an answer: the prompt, by its id in the config, and how to decode.

    Attributes
    ----------
    prompt : id of the prompt.
    sampling_temperature : `sampling.GREEDY`, or the temperature of sampling.
    token_ids : tokens of the prompt.
    """

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
    """Generate the answers to all prompts in one batch, as token ids.

    Each answer ends with an end-of-text token, or after `max_new_tokens`. If the model has no
    end-of-text token, every answer has `max_new_tokens` tokens. The checkpoint's settings for
    decoding, such as a repetition penalty, are ignored. Raises JobError if a token has no
    embedding.

    Parameters
    ----------
    model, tokenizer : the model and its tokenizer.
    asked : the prompts with their sampling temperatures.
    max_new_tokens : greatest length of an answer, in tokens.
    seed : seed of the sampling.
    """
    n_embeddings = int(model.get_input_embeddings().weight.shape[0])
    for request in asked:
        tokenization.check_ids(request.token_ids, n_embeddings, f"prompt {request.prompt}")
    ids, mask = padded([request.token_ids for request in asked], left=True, device=model.device)
    ends = end_of_text(model, tokenizer)
    decode_by_argmax(model)
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=ends or None, pad_token_id=0
    )
    longest = ids.shape[1]
    noise = SharedNoise(
        [(request.prompt, request.sampling_temperature) for request in asked], seed, longest
    )
    written = model.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=config,
        logits_processor=LogitsProcessorList([noise]),
    )
    return [until_end(answer, ends) for answer in written[:, longest:].tolist()]


def decode_by_argmax(model: Any) -> None:
    """Remove everything but the special tokens from the checkpoint's generation config.

    transformers takes all settings that a call of `generate` does not name from there, such as a
    repetition penalty, a forced token or beam search.
    """
    config = getattr(model, "generation_config", None)
    if config is not None:
        model.generation_config = GenerationConfig(
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
        )


def check_lengths(asked: Sequence[Asked], max_new_tokens: int, longest: int | None) -> None:
    """Raise JobError if a prompt and its answer need more positions than the model has.

    Parameters
    ----------
    asked : the prompts as token ids.
    max_new_tokens : greatest length of an answer, in tokens.
    longest : number of positions of the model; None if it has no limit.
    """
    for request in asked:
        needed = len(request.token_ids) + max_new_tokens
        if longest is not None and needed > longest:
            raise JobError(
                f"prompt {request.prompt} has {len(request.token_ids)} tokens and its answer up to "
                f"{max_new_tokens}, but the model reads at most {longest}. Shorten the prompt, or "
                "set a smaller decoding/max_new_tokens."
            )


def padded(
    sequences: Sequence[Sequence[int]], *, left: bool, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (sequences, longest); shorter sequences are padded with zeros.

    Parameters
    ----------
    sequences : token ids of each sequence.
    left : whether padding is on the left.
    device : device of the result.
    """
    width = max(map(len, sequences))
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        columns = slice(width - len(sequence), width) if left else slice(0, len(sequence))
        ids[row, columns] = torch.tensor(list(sequence))
        mask[row, columns] = 1
    return ids.to(device), mask.to(device)


def end_of_text(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """End-of-text tokens from the generation config, else from the tokenizer; may be empty.

    Raises JobError if one of them is no token of the model: no answer would ever end with it.
    """
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    ends: list[Any] = list(ids or ()) if ids is None or isinstance(ids, list | tuple) else [ids]
    n_embeddings = int(model.get_input_embeddings().weight.shape[0])
    if not all(type(end) is int and 0 <= end < n_embeddings for end in ends):
        raise JobError(
            f"the model's eos_token_id is {ids!r}, but its tokens are the whole numbers from 0 to "
            f"{n_embeddings - 1}. Correct eos_token_id in generation_config.json, or in "
            "config.json, of a copy of the folder, and name the copy as `path`."
        )
    return ends


def until_end(answer: Sequence[int], ends: Collection[int]) -> list[int]:
    """The answer up to and including its first end-of-text token, without the padding after it."""
    for length, token in enumerate(answer, start=1):
        if token in ends:
            return list(answer[:length])
    return list(answer)


def greedy(answers: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those rows of `dense_answer` that were decoded greedily."""
    return [answer for answer in answers if answer["sampling_temperature"] == GREEDY]


def context_of(answer: Mapping[str, Any], steps: int | None = None) -> tuple[list[int], int]:
    """Tokens that a model reads to generate an answer, and the position of step 0.

    Step 0 is at the last prompt token. The last token of the answer is generated but not read.

    Parameters
    ----------
    answer : a row of `dense_answer`.
    steps : largest number of steps; None for all.
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
    """Prompts and answers as rows of `dense_answer`.

    Parameters
    ----------
    prompts : section `prompts` of config.
    asked : the prompts as token ids, with their sampling temperatures.
    answers : token ids of each answer.
    tokenizer : decodes the token ids.
    ends : ids of the end-of-text tokens.
    """
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
