"""Embeddings are made of the model's hidden states and do not depend on the rest of the batch."""

import pytest
import torch

from prunescope.evaluation import text_embedding
from prunescope.model import loading
from prunescope.model.edits import Edit
from prunescope.progress import JobError
from tiny import EMBEDDERS, TEXTS, tiny_model
from tiny_inputs import save_tokenizer

SEQUENCES = [[5, 17, 3], [99], [42, 8, 64, 7, 11, 12, 9], [3, 4], [61, 20, 33]]
MODELS = [*((name, "encoder") for name in EMBEDDERS), ("llama", "causal"), ("qwen3", "causal")]


@pytest.fixture(params=MODELS, ids=str)
def embedder(request):
    architecture, kind = request.param
    return tiny_model(architecture, kind=kind)


@pytest.mark.parametrize("pooling", ["mean", "last_token"])
def test_embeddings_do_not_depend_on_the_batch(embedder, pooling, monkeypatch):
    """Padded batches give the vectors of single texts, in the same order."""
    monkeypatch.setitem(text_embedding.TOKENS_TOGETHER, "cpu", 12)
    rows = text_embedding.embed(embedder, SEQUENCES, pooling, normalize=False)
    for row, ids in zip(rows, SEQUENCES, strict=True):
        out = embedder(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
        h = out.hidden_states[-1][0]
        expected = h.mean(0) if pooling == "mean" else h[-1]
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)
    unit = text_embedding.embed(embedder, SEQUENCES, pooling, normalize=True)
    torch.testing.assert_close(unit, rows / rows.norm(dim=1, keepdim=True))


def test_half_precision_is_pooled_in_float32():
    model = tiny_model("bert", kind="encoder").bfloat16()
    row = text_embedding.embed(model, [[5, 17, 3]], "mean", normalize=False)[0]
    h = model(torch.tensor([[5, 17, 3]])).last_hidden_state[0]
    assert torch.equal(row, h.float().sum(0) / 3)


def test_overflow_is_refused():
    model = tiny_model("llama")
    model.model.layers[1].mlp.down_proj.weight[:] = torch.inf
    with pytest.raises(JobError, match="NaN or infinity"):
        text_embedding.embed(model, SEQUENCES, "mean", normalize=True)


def test_truncation_keeps_special_tokens(tmp_path):
    """The beginning and ending tokens appear once each, and there are at most max_length tokens."""
    file = save_tokenizer(tmp_path, begin=True)
    begin, end = 256, 257
    whole = text_embedding.encoder(file, 64)(["abc"])[0]
    assert text_embedding.encoder(file, 3)(["abc"])[0] == whole[:3] and whole[0] == begin
    ended = text_embedding.encoder(file, 3, ends_with="<|endoftext|>")(
        ["abc", "a<|endoftext|>", "abcdef"]
    )
    assert ended == [[*whole[:2], end], [*whole[:2], end], [*whole[:2], end]]
    around = text_embedding.encoder(file, 8, starts_with="x", ends_with="yz")
    whole = text_embedding.encoder(file, 64)
    assert around(["ab", "abcdefghi"]) == whole(["xabyz", "xabcdyz"])
    with pytest.raises(JobError, match="ends_with has 3 tokens, but max_length is 3"):
        text_embedding.encoder(file, 3, ends_with="abc")


@pytest.fixture
def remembering(tmp_path):
    """An embedder whose model counts how often it is asked for, by what it was made from."""
    loads = []

    def of(made_from="a", pooling="mean", max_length=32):
        def load():
            loads.append(made_from)
            return loading.apply_edit(tiny_model("llama", vocabulary=300), Edit())

        encode = text_embedding.encoder(save_tokenizer(tmp_path), max_length)
        settings = {"pooling": pooling, "normalize": True}
        return text_embedding.Embedder(load, encode, settings, {"weights": made_from})

    return of, loads, tmp_path / "rows.safetensors"


def test_stored_embeddings_are_reused(remembering):
    of, loads, file = remembering
    first = of()(TEXTS, file)
    assert torch.equal(of()(TEXTS, file), first)
    assert len(loads) == 1


def test_changed_weights_pooling_text_or_length_recompute_the_embedding(remembering):
    """A stale file is never used."""
    of, loads, file = remembering
    of()(TEXTS, file)
    for change in ({"made_from": "b"}, {"pooling": "last_token"}, {"max_length": 5}):
        of(**change)(TEXTS, file)
        of()(TEXTS, file)
    of()(TEXTS[::-1], file)
    assert len(loads) == 8


@pytest.mark.parametrize("pooling", ["mean", "last_token"])
def test_a_text_without_tokens_is_refused_by_name(pooling):
    """It has no state, and must not get the state of padding."""
    with pytest.raises(JobError, match=r"1 of 3 texts have no token.*number 2"):
        text_embedding.embed(tiny_model("llama"), [[5, 6], [7], []], pooling, True)
