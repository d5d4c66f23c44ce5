"""Attention in parts of a few queries equals causal attention, in every architecture."""

import math

import pytest
import torch
from torch import nn

from prunescope.machine import attention
from prunescope.model import anatomy
from tiny import ARCHITECTURES, EMBEDDERS, tiny_model

IDS = torch.randint(3, 100, (3, 150), generator=torch.Generator().manual_seed(2))
"""Longer than the queries taken together, and no multiple of them."""


@pytest.fixture
def counted(monkeypatch):
    """How often attention was taken in parts."""
    calls = []

    def once(*args):
        calls.append(args)
        return causal_attention(*args)

    causal_attention = attention.causal_attention
    monkeypatch.setattr(attention, "causal_attention", once)
    return calls


@pytest.mark.parametrize("positions", [1, 64, 65, 200, 600])
@pytest.mark.parametrize("kv_heads", [1, 2, 6])
@pytest.mark.parametrize("scaling", [None, 0.7])
@torch.no_grad()
def test_it_equals_causal_attention_in_float64(positions, kv_heads, scaling, generator):
    """Scores, -inf above the diagonal, softmax, and the weighted sum of values, written out."""
    query = torch.randn(2, 6, positions, 8, generator=generator)
    key, value = torch.randn(2, 2, kv_heads, positions, 8, generator=generator)
    found = attention.causal_attention(query, key, value, scaling)
    q = query.double()
    k, v = (heads.double().repeat_interleave(6 // kv_heads, 1) for heads in (key, value))
    scores = q @ k.mT * (scaling or 1 / math.sqrt(8))
    scores += torch.full((positions, positions), -torch.inf).triu(1)
    exact = (scores.softmax(-1) @ v).transpose(1, 2)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_logits_of_a_model_are_unchanged(architecture, counted):
    """For long texts; parts are used in every sublayer with a purely causal mask.

    A sliding window (the tiny Mistral's) is a mask of its own, and torch's.
    """
    model = tiny_model(architecture).double()
    before = model(IDS).logits
    after = attention.use(model)(IDS).logits
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    windowed = getattr(model.config, "sliding_window", None) is not None
    assert len(counted) == (0 if windowed else len(anatomy.blocks_of(model)))


@pytest.mark.parametrize("architecture", EMBEDDERS)
@torch.no_grad()
def test_outputs_of_an_embedding_model_are_unchanged(architecture):
    """Encoders are not causal, so torch's attention is used."""
    model = tiny_model(architecture, kind="encoder").double()
    before = model(IDS).last_hidden_state
    after = attention.use(model)(IDS).last_hidden_state
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_padded_and_cached_passes_use_the_attention_of_torch(counted):
    """A padded batch has a mask; with a cache, parts are used for the prompt alone."""
    model = tiny_model("qwen3").double()
    mask = torch.ones_like(IDS)
    mask[0, :70] = 0
    before = model(IDS, attention_mask=mask).logits, model(IDS).logits
    attention.use(model)
    padded = model(IDS, attention_mask=mask).logits
    assert not counted
    torch.testing.assert_close(padded[mask > 0], before[0][mask > 0], rtol=1e-9, atol=1e-9)

    prompt = model(IDS[:, :100], use_cache=True)
    assert len(counted) == 3
    rest = model(IDS[:, 100:], past_key_values=prompt.past_key_values)
    assert len(counted) == 3
    joined = torch.cat([prompt.logits, rest.logits], 1)
    torch.testing.assert_close(joined, before[1], rtol=1e-9, atol=1e-9)


def test_torch_computes_attention_with_gradients(counted):
    """If gradients are required, attention is torch's."""
    model = tiny_model("llama").double().requires_grad_(True)
    other = attention.use(tiny_model("llama").double().requires_grad_(True))
    for each in (model, other):
        each(IDS).logits.square().sum().backward()
    assert not counted
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(one.grad, another.grad) for one, another in pairs)


@torch.no_grad()
def test_unsupported_options_are_left_to_transformers(counted, generator):
    """With dropout, a position bias or capped scores, transformers computes or refuses."""
    query, key, value = torch.randn(3, 2, 4, 100, 6, generator=generator)
    bias = torch.randn(1, 4, 100, 100, generator=generator)
    module = nn.Module()
    found, _ = attention.attend(module, query, key, value, None, position_bias=bias)
    scores = query @ key.mT / math.sqrt(6) + bias + torch.full((100, 100), -torch.inf).triu(1)
    exact = (scores.softmax(-1) @ value).transpose(1, 2)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5)
    attention.attend(module, query, key, value, None, dropout=0.5)
    with pytest.raises(ValueError, match="softcap"):
        attention.attend(module, query, key, value, None, softcap=30.0)
    assert not counted


def test_a_saved_model_does_not_name_our_attention(tmp_path):
    """transformers alone can load an exported model."""
    model = attention.use(tiny_model("llama"))
    model.save_pretrained(tmp_path)
    assert attention.NAME not in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_another_attention_implementation_is_kept(counted):
    """A model that was loaded with eager attention keeps it."""
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    attention.use(model)(IDS)
    assert model.config._attn_implementation == "eager"
    assert not counted
