"""The information of a prompt about a text is the difference of plain log-likelihoods."""

import pytest
import torch

from prunescope.model import unembedding
from prunescope.tracing import prompt_information
from prunescope.tracing.prompt_information import Text
from tiny import tiny_model

PROMPTS = {"a": [5, 9, 11], "b": [7], "c": [20, 21, 22, 23, 24], "d": [30, 5], "e": [12, 13, 14]}


def _plain(model, prompt, tokens):
    """Mean log p of the tokens after a prompt, in one pass without padding or cache."""
    z = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    log_p = z.double().log_softmax(-1)
    return float(log_p.gather(-1, torch.tensor(tokens)[:, None]).mean())


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_the_likelihood_after_others_is_the_mean_of_plain_passes(architecture):
    """Texts of different lengths, one of a single token, share a batch and change nothing."""
    model = tiny_model(architecture)
    texts = [Text("a", [40, 41, 42, 43]), Text("a", [50]), Text("c", [60, 61]), Text("e", [5] * 9)]
    found = prompt_information.log_p_after_others(
        model, unembedding.output_of(model), PROMPTS, texts
    )
    for text, mean in zip(texts, found, strict=True):
        others = prompt_information.other_prompts(text.prompt, list(PROMPTS))
        plain = [_plain(model, PROMPTS[other], text.token_ids) for other in others]
        assert mean == pytest.approx(sum(plain) / len(plain), abs=1e-4)


def test_a_single_prompt_tells_nothing():
    model = tiny_model("llama")
    unembed = unembedding.output_of(model)
    alone = {"a": [5, 9]}
    assert prompt_information.log_p_after_others(model, unembed, alone, [Text("a", [4])]) == [None]


@pytest.mark.parametrize("n", range(1, 30))
def test_other_prompts_are_different_and_spread_over_the_list(n):
    """Of twelve prompts in three kinds of four, the others are of several kinds."""
    ids = [str(index) for index in range(n)]
    for prompt in ids:
        others = prompt_information.other_prompts(prompt, ids)
        assert len({*others, prompt}) == min(prompt_information.MOST_OTHERS, n - 1) + 1
    if n == 12:
        kinds = {
            prompt: {int(other) // 4 for other in prompt_information.other_prompts(prompt, ids)}
            for prompt in ids
        }
        assert all(len(each) > 1 for each in kinds.values())
