"""Prompts as a model reads them, and what it answers: greedily, or sampled with shared noise."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedTokenizerBase

from prunescope.sampling import GREEDY, SharedNoise


def prompt_token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a prompt in the model's chat template, or bare where it has none."""
    if tokenizer.chat_template is None:
        return list(tokenizer(text)["input_ids"])
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
    )
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


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
    The checkpoint's own sampling settings are left out: a repetition penalty is not argmax.
    """
    read = [list(each.token_ids) for each in asked]
    padded = tokenizer.pad({"input_ids": read}, return_tensors="pt")
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=end_of_text(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    longest = padded["input_ids"].shape[1]
    noise = SharedNoise([(each.prompt, each.sampling_temperature) for each in asked], seed, longest)
    written = model.generate(
        **padded.to(model.device),
        generation_config=config,
        logits_processor=LogitsProcessorList([noise]),
    )
    return [until_end(answer, set(config.eos_token_id)) for answer in written[:, longest:].tolist()]


def end_of_text(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens at which the model stops: its generation config's, else the tokenizer's."""
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    return [ids] if isinstance(ids, int) else list(ids)


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
            "prompt_token_ids": list(each.token_ids),
            "answer_token_ids": list(answer),
            "answer_text": tokenizer.decode(list(answer), skip_special_tokens=True),
            "stopped": answer[-1] in ends,
        }
        for each, answer in zip(asked, answers, strict=True)
    ]
