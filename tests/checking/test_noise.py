"""The noise floor is zero in float64, positive below float32, and computed as defined."""

import math
from typing import Any

import pytest
import torch

from prunescope.checking import noise
from prunescope.model import unembedding
from tiny import tiny_model

TEXT = torch.randint(10, 101, (24,), generator=torch.Generator().manual_seed(1)).tolist()

TEXTS = [TEXT[:5], TEXT[:17], TEXT[7:]]


def _one_pass_against_cached(model: Any, text: list[int], start: int) -> noise.Noise:
    cached, _ = noise.cached_outputs(model, text, start)
    return noise.compare(noise.traced_outputs(model, text, start), cached)


def _every_noise(model: Any, exact: Any) -> list[noise.Noise]:
    return [
        _one_pass_against_cached(model, TEXT, 6),
        noise.against_batched(
            model, TEXTS, [noise.own_outputs(model, text, 0)[0] for text in TEXTS]
        ),
        noise.compare(*(noise.traced_outputs(each, TEXT, 0) for each in (exact, model))),
    ]


def test_float64_has_no_noise(model: Any) -> None:
    """For every architecture, because all noise is rounding."""
    cached, batched, _ = _every_noise(model, model)
    assert cached.positions == len(TEXT) - 6
    assert batched.positions == sum(map(len, TEXTS))
    for found in (cached, batched):
        assert found.disagreements == 0
        assert max(found.kl_max, found.angular_h_max, found.angular_z_max) < 1e-12
        assert found.angular_p_max < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_bfloat16_has_noise(dtype: torch.dtype) -> None:
    """bfloat16 has 8 binary digits: deviations are near 2^-16, and none is NaN."""
    exact = tiny_model("llama").float()
    for found in _every_noise(tiny_model("llama").to(dtype), exact):
        assert all(map(math.isfinite, found))
        assert 0 < found.angular_h_mean <= found.angular_h_max < 0.01
        assert 0 < found.kl_mean <= found.kl_max < 1


def test_statistics_equal_those_of_plain_softmaxes() -> None:
    """KL = Σ p log(p/q) and 1 - cos, and the most likely token changes at one position of two."""
    z = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5]], dtype=torch.float64)
    other = torch.tensor([[0.0, 1.0, -1.0], [0.1, 2.0, 0.5]], dtype=torch.float64)
    h = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    turned = torch.tensor([[0.0, 1.0], [2.0, 2.0]], dtype=torch.float64)
    found = noise.compare(noise.Outputs(h, z), noise.Outputs(turned, other))
    p, q = z.softmax(-1), other.softmax(-1)
    kl = (p * (p / q).log()).sum(-1)
    cosine = torch.nn.functional.cosine_similarity
    assert found.disagreements == 1
    assert found.disagreement == 0.5
    assert found.kl_max == pytest.approx(float(kl.max()), rel=1e-12)
    assert found.kl_mean == pytest.approx(float(kl.mean()), rel=1e-12)
    assert found.angular_h_max == pytest.approx(1)
    assert found.angular_h_mean == pytest.approx(0.5)
    assert found.angular_z_max == pytest.approx(float(1 - cosine(z, other).min()), rel=1e-9)
    assert found.angular_p_max == pytest.approx(float(1 - cosine(p, q).min()), rel=1e-9)


def test_hidden_states_have_noise_in_bfloat16_but_not_in_float64(model: Any) -> None:
    """Decoding with a cache and one pass differ by rounding alone, for both readouts."""
    rounded = tiny_model("llama").to(torch.bfloat16)
    for each, low, high in ((model, -1e-12, 1e-12), (rounded, 0, 0.1)):
        start = len(TEXT) - 4
        _, states = noise.own_outputs(each, TEXT, start)
        _, cached = noise.cached_outputs(each, TEXT, start)
        assert states.shape == cached.shape
        assert states.shape[0] == 4
        for final_norm in (False, True):
            unembed = unembedding.readout_of(each, final_norm)
            found = noise.between_blocks(unembed, states, cached)
            assert all(f.shape == (4, states.shape[1] - 1) for f in found)
            means = torch.cat([f.mean(0) for f in found])
            assert low <= means.min()
            assert means.max() <= high
        last = noise.compare(
            *(noise.Outputs(s[:, -1], unembed(s[:, -1])) for s in (states, cached))
        )
        assert found.kl[:, -1].mean() == pytest.approx(last.kl_mean, rel=1e-4, abs=1e-12)


def test_a_different_model_exceeds_the_noise_floor() -> None:
    """Other weights are far away, so the measure is not zero by construction."""
    models = tiny_model("llama", seed=1), tiny_model("llama")
    found = noise.compare(*(noise.traced_outputs(each, TEXT, 0) for each in models))
    assert found.kl_mean > 0.1
    assert found.disagreements > len(TEXT) / 2


def test_logits_that_are_not_finite_are_an_error() -> None:
    """A maximum would ignore NaN, and its argmax is arbitrary."""
    model = tiny_model("llama")
    model.lm_head.weight[5, 0] = float("nan")
    with pytest.raises(ValueError, match=r"noise: logits are not finite \(\d+ NaN of \d+\).*dtype"):
        _one_pass_against_cached(model, TEXT, 6)
