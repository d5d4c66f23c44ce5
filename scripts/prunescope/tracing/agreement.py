"""How closely a variant's output agrees with the dense model's, in h, z and p.

Both models read the dense model's answers, and their outputs are compared at every step.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from prunescope import finite
from prunescope.measures.comparisons import PairStatistics, Slab
from prunescope.model import anatomy, prompts
from prunescope.model.unembedding import output_of

_LOGITS_AT_ONCE = 1 << 21
"""Entries of the logits of one chunk of steps.

That is 16 MB in float64, and a comparison holds about eight such tensors.
"""

_PAIR = Slab((0,), slice(None), slice(0, 1), slice(1, 2))
"""Each step has two rows of logits: the dense model's and the variant's."""


class Agreement(NamedTuple):
    """Means (and one median) over all steps of all prompts, weighted equally, at T = 1."""

    steps: int
    similarity_embedding: float
    similarity_logit: float
    similarity_probability: float
    mean_kl_divergence: float
    median_kl_divergence: float
    top_token_agreement: float


@torch.inference_mode()
def agreement(
    dense: Any, variant: Any, answers: Sequence[Mapping[str, Any]], steps: int
) -> Agreement:
    """Compare the outputs of both models, with one forward pass of each model per answer.

    Parameters
    ----------
    dense, variant : the two models.
    answers : rows of `dense_answer`. Step 0 is at the last prompt token.
    steps : the largest number of steps to compare per answer.
    """
    chunks = []
    for index, answer in enumerate(answers):
        with finite.named(f"prompt {answer.get('prompt', index)}"):
            chunks += [
                _compared(output_logits(dense, h), output_logits(variant, h_variant), h, h_variant)
                for h, h_variant in _chunks(dense, variant, answer, steps)
            ]
    columns = torch.cat(chunks, dim=-1)
    h, z, p, kl, same_token = columns.mean(-1).tolist()
    median_kl = columns[3].quantile(0.5).item()
    return Agreement(columns.shape[-1], 1 - h, 1 - z, 1 - p, kl, median_kl, same_token)


def output_logits(model: Any, h: Tensor) -> Tensor:
    """The model's logits in float32 or float64, from h after the final norm.

    (rows, d) -> (rows, vocab)
    """
    z: Tensor = output_of(model)(h)
    return z


def _chunks(
    dense: Any, variant: Any, answer: Mapping[str, Any], steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield h after the final norm, (rows, d) per model, for a few steps at a time."""
    context, start = prompts.context_of(answer, steps)
    token_ids = torch.tensor([context], device=dense.device)
    states = [
        model.base_model(input_ids=token_ids, use_cache=False).last_hidden_state[0, start:]
        for model in (dense, variant)
    ]
    chunk_size = max(1, _LOGITS_AT_ONCE // anatomy.lm_head_of(dense).weight.shape[0])
    return zip(*(h.split(chunk_size) for h in states), strict=True)


def _compared(z: Tensor, z_variant: Tensor, h: Tensor, h_variant: Tensor) -> Tensor:
    """Angular deviation in h, z and p, KL, and whether the top token is the same; per step.

    Returns (5, rows) in float64.
    """
    statistics = PairStatistics(len(z), 1, [1.0], z.device)
    statistics.put_states(h.unsqueeze(1), h_variant.unsqueeze(1))
    statistics.put_logits(slice(0, len(z)), torch.stack([z, z_variant], 1), _PAIR)
    deviations = (
        statistics.h.angular_deviation,
        statistics.z.angular_deviation,
        statistics.p.angular_deviation,
        statistics.p.kl_divergence,
    )
    same_token = (z.argmax(-1) == z_variant.argmax(-1)).double()
    return torch.stack([*(column.flatten() for column in deviations), same_token]).cpu()
