"""Prompts as the model reads them, and the dense model's greedy answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase


def prompt_token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a prompt in the model's chat template, or bare where it has none."""
    if tokenizer.chat_template is None:
        return list(tokenizer(text)["input_ids"])
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
    )
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


@torch.inference_mode()
def greedy_answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    """What the model writes after each prompt at temperature 0, all prompts in one batch.

    Each answer ends with the end-of-text token the model wrote, or after `max_new_tokens`.
    The checkpoint's own sampling settings are left out: a repetition penalty is not argmax.
    """
    padded = tokenizer.pad({"input_ids": [list(ids) for ids in prompts]}, return_tensors="pt")
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=end_of_text(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    written = model.generate(**padded.to(model.device), generation_config=config)
    answers = written[:, padded["input_ids"].shape[1] :].tolist()
    return [_until(answer, set(config.eos_token_id)) for answer in answers]


def end_of_text(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens at which the model stops: its generation config's, else the tokenizer's."""
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    return [ids] if isinstance(ids, int) else list(ids)


def _until(answer: Sequence[int], ends: set[int]) -> list[int]:
    """The answer up to and including its first end-of-text token; padding follows that."""
    for length, token in enumerate(answer, start=1):
        if token in ends:
            return list(answer[:length])
    return list(answer)


def context_of(answer: Mapping[str, Any]) -> tuple[list[int], int]:
    """Tokens a model reads to write an answer, a row of `dense_answer`, and where step 0 is read.

    The answer's last token is written and not read; step 0 is read at the last prompt token.
    """
    read = answer["prompt_token_ids"] + answer["answer_token_ids"][:-1]
    return read, len(answer["prompt_token_ids"]) - 1


def as_rows(
    prompts: Mapping[str, Mapping[str, str]],
    token_ids: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
) -> list[dict[str, object]]:
    """Prompts and answers as rows of `dense_answer`."""
    return [
        {
            "prompt": name,
            "kind": prompt["kind"],
            "text": prompt["text"],
            "prompt_token_ids": list(ids),
            "answer_token_ids": list(answer),
            "answer_text": tokenizer.decode(list(answer), skip_special_tokens=True),
            "stopped": answer[-1] in ends,
        }
        for (name, prompt), ids, answer in zip(prompts.items(), token_ids, answers, strict=True)
    ]
