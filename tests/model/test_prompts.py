"""The dense answer is the argmax of the model at every step, and the trace reads these steps."""

import pytest
import torch

from prunescope.model import capture, loading, prompts
from tiny import ARCHITECTURES, make_tiny_model


@pytest.fixture(params=ARCHITECTURES)
def loaded(request, tmp_path):
    """A tiny model and tokenizer of every architecture, through the folder a user would have."""
    folder = make_tiny_model(tmp_path / "model", request.param)
    model = loading.load(folder, "float32", torch.device("cpu"))
    return model, loading.load_tokenizer(folder)


def _answers(model, tokenizer, ids, temperature=0.0, tokens=6):
    asked = [prompts.Asked(f"p{place}", temperature, each) for place, each in enumerate(ids)]
    return prompts.answers(model, tokenizer, asked, tokens, seed=0)


def test_answers_are_argmax_token_by_token(loaded):
    """Batched decoding with padding and a cache equals one unpadded pass per token."""
    model, tokenizer = loaded
    ids = [prompts.prompt_token_ids(tokenizer, text) for text in ("a fox", "the sea is near by")]
    assert len(ids[0]) != len(ids[1])
    for prompt, answer in zip(ids, _answers(model, tokenizer, ids), strict=True):
        context = list(prompt)
        for token in answer:
            logits = model(torch.tensor([context])).logits[0, -1]
            assert float(logits.max() - logits[token]) < 1e-4
            context.append(token)
        assert len(answer) == 6 or answer[-1] in prompts.end_of_text(model, tokenizer)


def test_the_teacher_forced_pass_predicts_the_answer(loaded):
    """Its prediction at step t is token t of the answer."""
    model, tokenizer = loaded
    ids = prompts.prompt_token_ids(tokenizer, "seven wagons")
    (answer,) = _answers(model, tokenizer, [ids])
    context = torch.tensor(ids + answer[:-1])
    dense, _ = capture.residuals(model, context, start=len(ids) - 1)
    logits = model(context[None]).logits[0, len(ids) - 1 :]
    assert len(dense) == len(answer) == len(logits)
    chosen = logits.gather(1, torch.tensor(answer)[:, None])
    torch.testing.assert_close(chosen[:, 0], logits.amax(-1), rtol=1e-4, atol=1e-4)


def test_rows_say_whether_the_model_stopped_by_itself(tmp_path):
    """The end-of-text token is among the tokens, but not part of the text."""
    folder = make_tiny_model(tmp_path / "model")
    tokenizer = loading.load_tokenizer(folder)
    end = tokenizer.eos_token_id
    asked = {"a": {"kind": "open_ended", "text": "x"}, "b": {"kind": "arithmetic", "text": "y"}}
    word = tokenizer("fox")["input_ids"][-1:]
    each = [prompts.Asked("a", 0, [1]), prompts.Asked("b", 0.7, [1])]
    rows = prompts.as_rows(asked, each, [[*word, end], word], tokenizer, [end])
    assert [answer["prompt"] for answer in prompts.greedy(rows)] == ["a"]
    assert [row["stopped"] for row in rows] == [True, False]
    assert rows[0]["answer_text"] == rows[1]["answer_text"] != ""
