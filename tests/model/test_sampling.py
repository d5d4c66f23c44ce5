"""With shared noise, samples follow softmax(z/T) and depend only on seed, prompt and step."""

import pytest
import torch

from prunescope.model import sampling

VOCABULARY = 7


def _draws(z, temperature, n, prompt="p"):
    """Tokens of n independent steps with the same logits."""
    return sampling.scores(z.expand(n, -1), temperature, 3, prompt).argmax(-1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_distribution(generator, temperature):
    """Chi-square of 4000 draws against softmax(z/T), 6 degrees of freedom: 22.5 is p = 0.001."""
    z = torch.randn(VOCABULARY, generator=generator)
    n = 4000
    found = torch.bincount(_draws(z, temperature, n), minlength=VOCABULARY).double()
    expected = n * (z.double() / temperature).softmax(-1)
    assert float(((found - expected) ** 2 / expected).sum()) < 22.5


def test_greedy_decoding_takes_the_most_likely_token(generator):
    z = torch.randn(5, VOCABULARY, generator=generator)
    assert torch.equal(sampling.scores(z, sampling.GREEDY, 3, "p"), z)


def test_noise_is_a_function_of_seed_prompt_and_step():
    noise = sampling.gumbel(3, "p", 5, 4096)
    assert torch.equal(noise, sampling.gumbel(3, "p", 5, 4096))
    for other in ((4, "p", 5), (3, "q", 5), (3, "p", 6)):
        correlation = torch.corrcoef(torch.stack([noise, sampling.gumbel(*other, 4096)]))[0, 1]
        assert abs(float(correlation)) < 5 / 64


def test_noise_of_a_chunk_equals_that_of_the_whole(generator):
    """Later steps have the same noise, for both models."""
    z = torch.randn(6, 2, VOCABULARY, generator=generator)
    whole = sampling.scores(z, 0.7, 3, "p")
    assert torch.equal(whole[4:], sampling.scores(z[4:], 0.7, 3, "p", first_step=4))
    noise = whole - z / 0.7
    torch.testing.assert_close(noise[:, 0], noise[:, 1], rtol=0, atol=1e-5)


def test_greedy_and_sampled_rows_share_a_batch(generator):
    """One logits processor serves both."""
    z = torch.randn(3, VOCABULARY, generator=generator)
    rows = [("p", 0.0), ("p", 0.7), ("q", 0.7)]
    noise = sampling.SharedNoise(rows, seed=3, read=10)
    found = noise(torch.zeros(3, 12, dtype=torch.long), z)
    for row, (prompt, temperature) in enumerate(rows):
        expected = sampling.scores(z[row : row + 1], temperature, 3, prompt, first_step=2)[0]
        assert torch.equal(found[row], expected)


def test_neighbouring_seeds_differ():
    """Also large ones, for any prompt: no seed is rounded to its neighbour."""
    for prompt in ("a", "b", "c", "d", "e", "f"):
        drawn = [sampling.gumbel(seed, prompt, 0, 4) for seed in (2**63 - 1, 2**63 - 2)]
        assert not torch.equal(*drawn)
