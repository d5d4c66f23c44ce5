"""Whether a text is about its prompt: its likelihood after the prompt and after other prompts.

The pointwise mutual information of prompt and text, log p(text | prompt) - log p(text), is what the
prompt tells about the text. Under the dense model, p(text) is estimated by the text's likelihood
after other prompts of the run. A fluent text that no longer answers its prompt is as likely after
any other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

from prunescope.model import prompts, unembedding
from prunescope.tracing import decoding

MOST_OTHERS = 3
"""Largest number of other prompts after which a text is read."""


class Text(NamedTuple):
    """The tokens of a text, and the id of the prompt that it answers."""

    prompt: str
    token_ids: Sequence[int]


def other_prompts(prompt: str, prompt_ids: Sequence[str]) -> list[str]:
    """At most three other prompts, spread evenly over the list, so that their kinds differ.

    Parameters
    ----------
    prompt : the prompt of a text.
    prompt_ids : all prompts, in the order of config.
    """
    n, place = len(prompt_ids), prompt_ids.index(prompt)
    count = min(MOST_OTHERS, n - 1)
    return [prompt_ids[(place + k * n // (count + 1)) % n] for k in range(1, count + 1)]


@torch.inference_mode()
def log_p_after_others(
    dense: Any,
    unembed: unembedding.Unembedding,
    prompt_tokens: Mapping[str, Sequence[int]],
    texts: Sequence[Text],
) -> list[float | None]:
    """Mean log p per token of each text after other prompts, in nats; None without others.

    Each prompt is read once, and the texts that follow it are read together from its cache.

    Parameters
    ----------
    dense : the dense model.
    unembed : its map from states to logits.
    prompt_tokens : tokens of every prompt, by id, in the order of config.
    texts : the texts.
    """
    readers: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        for other in other_prompts(text.prompt, list(prompt_tokens)):
            readers.setdefault(other, []).append(index)
    found: list[list[float]] = [[] for _ in texts]
    for other, indices in readers.items():
        token_ids = [texts[index].token_ids for index in indices]
        states = _states_after(dense, prompt_tokens[other], token_ids)
        for index, h, tokens in zip(indices, states, token_ids, strict=True):
            log_p = decoding.log_likelihoods(unembed, h[: len(tokens)], tokens)
            found[index].append(float(log_p.mean()))
    return [sum(each) / len(each) if each else None for each in found]


def _states_after(
    dense: Any, prompt: Sequence[int], texts: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The input of lm_head before each token of the texts, (texts, longest, d).

    Padding follows a shorter text, whose tokens do not attend to it.
    """
    cache = DynamicCache(config=dense.config)
    ids = torch.tensor([list(prompt)], device=dense.device)
    read = dense.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
    last: torch.Tensor = read.last_hidden_state[:, -1:].expand(len(texts), -1, -1)
    if max(map(len, texts)) == 1:
        return last
    cache.batch_repeat_interleave(len(texts))
    shifted, _ = prompts.padded([text[:-1] for text in texts], left=False, device=dense.device)
    rest = dense.base_model(input_ids=shifted, past_key_values=cache, use_cache=True)
    return torch.cat([last, rest.last_hidden_state], 1)
