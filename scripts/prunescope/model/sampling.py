"""Sampled decoding with shared noise: dense and variant throw the same dice.

By the Gumbel trick argmax(z/T + g) is a draw from softmax(z/T). The noise g of a (prompt, step)
is a function of the seed alone, so two models that agree write the same text, and where they
differ it is not by chance.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from prunescope import finite

GREEDY = 0.0
"""Sampling temperature at which the likeliest token is chosen."""


def gumbel(seed: int, prompt: str, step: int, vocabulary: int) -> Tensor:
    """Standard Gumbel noise of one step of one prompt, (vocab,) float32.

    Philox counts from a block of its own for each step: no step shares numbers with another.
    """
    digest = hashlib.blake2b(prompt.encode(), digest_size=8).digest()
    key = np.array([seed, int.from_bytes(digest)], dtype=np.uint64)  # of a list: float64 may round
    bits = np.random.Philox(key=key, counter=[0, 0, 0, step])
    return torch.from_numpy(np.random.Generator(bits).gumbel(size=vocabulary).astype(np.float32))


def scores(
    z: Tensor, sampling_temperature: float, seed: int, prompt: str, first_step: int = 0
) -> Tensor:
    """What the chosen token is the argmax of: z, or z/T + g where T is not 0 (greedy).

    Parameters
    ----------
    z : (steps, …, vocab), logits from `first_step` on; models side by side share the noise.
    """
    if sampling_temperature == GREEDY:
        return z
    noise = torch.stack(
        [gumbel(seed, prompt, first_step + step, z.shape[-1]) for step in range(len(z))]
    ).to(z.device)
    return z / sampling_temperature + noise.view(len(z), *[1] * (z.ndim - 2), -1)


class SharedNoise(LogitsProcessor):
    """Lets `generate` decode each row of a batch greedily or sampled, by `scores`.

    Parameters
    ----------
    rows : prompt id and sampling temperature of each row of the batch.
    read : tokens of the padded prompts, so that steps count from 0.
    """

    def __init__(self, rows: Sequence[tuple[str, float]], seed: int, read: int) -> None:
        self.rows, self.seed, self.read = rows, seed, read

    def __call__(self, input_ids: Tensor, scores_of_batch: Tensor) -> Tensor:
        """Logits (rows, vocab) -> what the rows' next tokens are the argmax of."""
        step = input_ids.shape[1] - self.read
        self._check(scores_of_batch, step)
        return torch.cat(
            [
                scores(z[None], temperature, self.seed, prompt, step)
                for z, (prompt, temperature) in zip(scores_of_batch, self.rows, strict=True)
            ]
        )

    def _check(self, z: Tensor, step: int) -> None:
        """Raise NotFinite, by prompt, where a row of logits holds NaN, +inf or no number at all.

        A vocabulary may be padded by -inf: such a token is never chosen.
        """
        largest = z.amax(-1)  # NaN where one is NaN
        if not largest.isfinite().all():
            row = int(largest.isfinite().logical_not().nonzero()[0])
            finite.checked(z[row], f"prompt {self.rows[row][0]}, step {step}: logits")
