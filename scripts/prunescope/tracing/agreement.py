"""How near a variant's output stays to dense on the dense model's answers: h, z, p."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from prunescope import finite
from prunescope.measures.comparisons import Columns, Slab
from prunescope.model import anatomy, prompts
from prunescope.model.unembedding import output_of

_LOGITS_AT_ONCE = 1 << 21
"""Logits of a chunk of steps: 16 MB in float64, of which a comparison holds about eight."""

_PAIR = Slab((0,), slice(None), slice(0, 1), slice(1, 2))
"""Two rows of logits of a step, dense and variant."""


class Agreement(NamedTuple):
    """Means over all steps of all prompts, each step counting once; T = 1."""

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
    """Compare both models' outputs, one pass of each per prompt and answer.

    Parameters
    ----------
    answers : rows of `dense_answer`. Steps begin at the last prompt token.
    steps : of each answer, at most.
    """
    chunks = []
    for place, answer in enumerate(answers):
        with finite.named(f"prompt {answer.get('prompt', place)}"):
            chunks += [
                _compared(output_logits(dense, h), output_logits(variant, h_variant), h, h_variant)
                for h, h_variant in _chunks(dense, variant, answer, steps)
            ]
    found = torch.cat(chunks, dim=-1)
    h, z, p, kl, same = found.mean(-1).tolist()
    median_kl = found[3].quantile(0.5).item()
    return Agreement(found.shape[-1], 1 - h, 1 - z, 1 - p, kl, median_kl, same)


def output_logits(model: Any, h: Tensor) -> Tensor:
    """The model's own logits in float32 or better, (rows, d) after final norm -> (rows, vocab)."""
    z: Tensor = output_of(model)(h)
    return z


def _chunks(
    dense: Any, variant: Any, answer: Mapping[str, Any], steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """h after the final norm of both models, (rows, d), for a few steps at a time."""
    read, start = prompts.context_of(answer, steps)
    token_ids = torch.tensor([read], device=dense.device)
    both = [
        model.base_model(input_ids=token_ids, use_cache=False).last_hidden_state[0, start:]
        for model in (dense, variant)
    ]
    rows = max(1, _LOGITS_AT_ONCE // anatomy.lm_head_of(dense).weight.shape[0])
    return zip(*(h.split(rows) for h in both), strict=True)


def _compared(z: Tensor, z_variant: Tensor, h: Tensor, h_variant: Tensor) -> Tensor:
    """Deviation in h, z, p, KL and equal likeliest token of each step, (5, rows) float64."""
    columns = Columns(len(z), 1, [1.0], z.device)
    columns.put_states(h.unsqueeze(1), h_variant.unsqueeze(1))
    columns.put_logits(slice(0, len(z)), torch.stack([z, z_variant], 1), _PAIR)
    found = (
        columns.h.angular_deviation,
        columns.z.angular_deviation,
        columns.p.angular_deviation,
        columns.p.kl_divergence,
    )
    same = (z.argmax(-1) == z_variant.argmax(-1)).double()
    return torch.stack([*(column.flatten() for column in found), same]).cpu()
