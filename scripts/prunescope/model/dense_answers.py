"""Answers of the dense model to prompts, as rows of `dense_answer` and `selection_answer`."""

from collections.abc import Mapping, Sequence
from typing import Any

from prunescope import progress
from prunescope.machine import products, runtime
from prunescope.model import loading, prompts
from prunescope.model.sampling import GREEDY, GenerationSettings


def rows(
    model_dir: str,
    prompt_texts: Mapping[str, Mapping[str, str]],
    prompting: Mapping[str, Any],
    decoding: GenerationSettings,
    dtype: str,
    threads: int,
) -> list[dict[str, Any]]:
    """The answers to all prompts. The prompts are checked before the model is loaded.

    Parameters
    ----------
    model_dir : folder of the dense model.
    prompt_texts : section `prompts` or `selection_prompts` of config.
    prompting : section `prompting` of config, with the settings of the chat template.
    decoding : length of the answers and sampling.
    dtype, threads : number type of the weights, and number of CPU threads.

    Raises
    ------
    JobError
        if a prompt cannot be rendered, or needs more positions than the model has.
    """
    device = runtime.prepare(threads)
    tokenizer = loading.load_tokenizer(model_dir, prompting)
    encoded_prompts = [
        prompts.Asked(name, temperature, prompts.prompt_token_ids(tokenizer, prompt["text"]))
        for temperature in (GREEDY, *decoding.sampling_temperatures)
        for name, prompt in prompt_texts.items()
    ]
    prompts.check_lengths(encoded_prompts, decoding.max_new_tokens, loading.longest(model_dir))
    warn_of_thinking(tokenizer, encoded_prompts)
    model = loading.load(model_dir, dtype, device)
    products.order_weights(model)
    answers = prompts.answers(
        model, tokenizer, encoded_prompts, decoding.max_new_tokens, decoding.seed
    )
    ends = prompts.end_of_text(model, tokenizer)
    return prompts.as_rows(prompt_texts, encoded_prompts, answers, tokenizer, ends)


def warn_of_thinking(tokenizer: Any, encoded_prompts: Sequence[prompts.Asked]) -> None:
    """Warn if the chat template opens a thinking text, because then step 0 is not the answer."""
    names = {
        each.prompt for each in encoded_prompts if prompts.opens_thinking(tokenizer, each.token_ids)
    }
    if names:
        progress.warn(
            f"the chat template opens a thinking text after {', '.join(sorted(names))}: step 0, "
            "where options are read, is part of it. See prompting/chat_template_kwargs in config."
        )
