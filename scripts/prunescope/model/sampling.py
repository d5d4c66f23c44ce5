"""Sampling with shared noise: dense and variant use the same random numbers.

argmax(z/T + g) with standard Gumbel noise g is a sample from softmax(z/T). The noise of a prompt
and step depends only on the seed. Two models with equal logits therefore generate the same text,
and different texts are due to the models, not to chance.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from prunescope import finite

GREEDY = 0.0
"""The sampling temperature for greedy decoding, which chooses the most likely token."""


@dataclass(frozen=True)
class GenerationSettings:
    """How answers are generated: greedily, and sampled at further temperatures."""

    max_new_tokens: int
    """The greatest length of an answer, in tokens."""
    sampling_temperatures: Sequence[float]
    """Temperatures at which further answers are sampled."""
    seed: int
    """Seed of the sampling."""


def gumbel(seed: int, prompt: str, step: int, vocabulary: int) -> Tensor:
    """Standard Gumbel noise of one step of one prompt, (vocab,) float32.

    Each step has its own range of the Philox counter, so that no two steps share random numbers.

    Parameters
    ----------
    seed : seed of the sampling.
    prompt : id of the prompt.
    step : decoding step, from 0.
    vocabulary : number of tokens.
    """
    digest = hashlib.blake2b(prompt.encode(), digest_size=8).digest()
    key = np.array(
        [seed, int.from_bytes(digest)], dtype=np.uint64
    )  # without dtype, float64 could round
    bits = np.random.Philox(key=key, counter=[0, 0, 0, step])
    return torch.from_numpy(np.random.Generator(bits).gumbel(size=vocabulary).astype(np.float32))


def scores(
    z: Tensor, sampling_temperature: float, seed: int, prompt: str, first_step: int = 0
) -> Tensor:
    """Scores whose argmax is the chosen token: z if greedy, else z/T + g.

    Parameters
    ----------
    z : (steps, …, vocab), logits from `first_step` on. Noise is shared over the dimensions between,
        for instance by several models.
    sampling_temperature : T; `GREEDY` for greedy decoding.
    seed, prompt : what the noise depends on besides the step.
    """
    if sampling_temperature == GREEDY:
        return z
    noise = torch.stack(
        [gumbel(seed, prompt, first_step + step, z.shape[-1]) for step in range(len(z))]
    ).to(z.device)
    return z / sampling_temperature + noise.view(len(z), *[1] * (z.ndim - 2), -1)


class SharedNoise(LogitsProcessor):
    """Logits processor with which `generate` decodes each row greedily or by sampling.

    Parameters
    ----------
    rows : prompt id and sampling temperature of each row of the batch.
    seed : seed of the noise.
    read : number of tokens of the padded prompts; the token after them is step 0.
    """

    def __init__(self, rows: Sequence[tuple[str, float]], seed: int, read: int) -> None:
        self.rows, self.seed, self.read = rows, seed, read

    def __call__(self, input_ids: Tensor, scores_of_batch: Tensor) -> Tensor:
        """Logits (rows, vocab) -> scores whose argmax is the next token of each row."""
        step = input_ids.shape[1] - self.read
        self._check(scores_of_batch, step)
        return torch.cat(
            [
                scores(z[None], temperature, self.seed, prompt, step)
                for z, (prompt, temperature) in zip(scores_of_batch, self.rows, strict=True)
            ]
        )

    def _check(self, z: Tensor, step: int) -> None:
        """Raise NotFinite, with the prompt, if a row of logits holds NaN, +inf or only -inf.

        Single entries of -inf are valid: they pad a vocabulary, and are never chosen.
        """
        largest = z.amax(-1)  # NaN if any entry is NaN
        if not largest.isfinite().all():
            row = int(largest.isfinite().logical_not().nonzero()[0])
            finite.checked(z[row], f"prompt {self.rows[row][0]}, step {step}: logits")
