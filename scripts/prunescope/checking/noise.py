"""The noise floor: how far a dense model is from itself where only the arithmetic differs.

One pass over a text, decoding it token by token with a cache, the same text in a padded batch, and
the same weights in float32 are equal in exact arithmetic. In bfloat16 they are not: sums are taken
in another order and rounded to eight binary digits. A deviation of a variant below that is no
finding. Statistics are taken in float64 of logits as each way of computing gives them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from prunescope import finite
from prunescope.measures import metrics
from prunescope.model import anatomy, capture, prompts, unembedding
from prunescope.tracing import histories, sublayer_traces

_ROWS_TOGETHER = 32
"""Positions whose logits are compared together: about 0.3 GB for a vocabulary of 150,000."""


_MEMORY_MB = 256
"""Of logits of states between blocks."""


class Noise(NamedTuple):
    """How far two computations of one model are apart, over so many positions; T = 1.

    disagreements : positions at which their likeliest tokens differ. KL in nats. An angular
    deviation is 1 - cos, of h after the final norm, of the logits z and of p = softmax(z).
    """

    positions: int
    disagreements: int
    kl_mean: float
    kl_max: float
    angular_h_mean: float
    angular_h_max: float
    angular_z_mean: float
    angular_z_max: float
    angular_p_mean: float
    angular_p_max: float

    @property
    def disagreement(self) -> float:
        """Share of positions at which the likeliest tokens differ."""
        return self.disagreements / self.positions


class BetweenBlocks(NamedTuple):
    """How far two computations of the states that sublayers write are apart; T = 1.

    Each field (positions, sublayers): 1 - cos of h, of z and of p, and KL in nats.
    """

    angular_h: Tensor
    angular_z: Tensor
    angular_p: Tensor
    kl: Tensor


class Outputs(NamedTuple):
    """What a model computes at some positions: h (positions, d) after the final norm, z logits."""

    h: Tensor
    z: Tensor


@torch.inference_mode()
def alone_against_batched(model: Any, texts: Sequence[Sequence[int]]) -> Noise:
    """Every text alone, against all of them in one batch padded on the left, as `generate` pads.

    Parameters
    ----------
    model : causal.
    texts : token ids of each; the lengths should differ. All positions of all texts are compared.
    """
    ids, mask = prompts.padded(texts, left=True, device=model.device)
    together = _outputs(
        model,
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        use_cache=False,
    )
    alone, batched = [], []
    for row, text in enumerate(texts):
        one = torch.tensor([list(text)], device=model.device)
        by_itself = _outputs(model, input_ids=one, use_cache=False)
        alone.append(Outputs(by_itself.h[0], by_itself.z[0]))
        batched.append(Outputs(together.h[row, -len(text) :], together.z[row, -len(text) :]))
    return compare(_joined(alone), _joined(batched))


def traced_outputs(model: Any, token_ids: Sequence[int], start: int) -> Outputs:
    """As traces compute it: one pass, logits in float32 or better; positions from `start` on."""
    ids = torch.tensor(list(token_ids), device=model.device)
    h = histories.run(model, ids).h[0, start:]
    unembed = unembedding.output_of(model)
    z = torch.cat([unembed(rows) for rows in h.split(_ROWS_TOGETHER)])
    return Outputs(h, z)


@torch.inference_mode()
def cached_outputs(model: Any, token_ids: Sequence[int], start: int) -> tuple[Outputs, Tensor]:
    """As decoding computes it: the prompt at once, then token by token with a cache.

    Parameters
    ----------
    model : causal.
    token_ids : a text, such as `prompts.context_of` an answer.
    start : position of the last prompt token. The tokens up to it are read at once, as a prompt
        is, the others one by one.

    Returns
    -------
    outputs, states : of the positions from `start` on, with the model's own logits; and the states
        between sublayers at these positions, (positions, boundaries, d).
    """
    ids = torch.tensor([list(token_ids)], device=model.device)
    states: dict[int, list[Tensor]] = {}

    def keep(boundary: int, h: Tensor) -> None:
        states.setdefault(boundary, []).append(h[0, -1])

    with _read_by_lm_head(model) as read, capture.boundaries(model, keep):
        out = model(input_ids=ids[:, : start + 1], use_cache=True, logits_to_keep=1)
        steps = [Outputs(read.pop()[0, -1:], out.logits[0, -1:])]
        for position in range(start + 1, ids.shape[1]):
            out = model(
                input_ids=ids[:, position : position + 1],
                past_key_values=out.past_key_values,
                use_cache=True,
            )
            steps.append(Outputs(read.pop()[0, -1:], out.logits[0, -1:]))
    at_boundaries = [torch.stack(states[boundary]) for boundary in sorted(states)]
    return _joined(steps), torch.stack(at_boundaries, 1)


@torch.inference_mode()
def traced_states(model: Any, token_ids: Sequence[int], start: int) -> Tensor:
    """States between sublayers as traces read them, (positions from `start`, boundaries, d)."""
    return capture.residuals(model, torch.tensor(list(token_ids), device=model.device), start)[0]


def between_blocks(
    unembed: unembedding.Unembedding, first: Tensor, second: Tensor
) -> BetweenBlocks:
    """How far two computations of the states between sublayers are apart, as traces measure it.

    Parameters
    ----------
    unembed : the readout, of Eq. 2 or with the final norm.
    first, second : (positions, boundaries, d).
    """
    one, other = (states.to(unembed.dtype) for states in (first, second))
    written = {s: other[:, s + 1] for s in range(other.shape[1] - 1)}
    found = sublayer_traces.statistics(one, written, (), unembed, [1.0], _MEMORY_MB)
    return BetweenBlocks(
        found.h.angular_deviation,
        found.z.angular_deviation,
        found.p.angular_deviation[..., 0],
        found.p.kl_divergence[..., 0],
    )


def compare(first: Outputs, second: Outputs) -> Noise:
    """Statistics of two computations at the same positions, in float64.

    Raises
    ------
    finite.NotFinite
        if a hidden state or logit is NaN or infinite.
    """
    parts = []
    for rows in range(0, len(first.h), _ROWS_TOGETHER):
        here = slice(rows, rows + _ROWS_TOGETHER)
        h, other_h = (
            finite.checked(each.h[here], "noise: hidden states") for each in (first, second)
        )
        z, other_z = (finite.checked(each.z[here], "noise: logits") for each in (first, second))
        parts.append(_statistics(h.double(), other_h.double(), z.double(), other_z.double()))
    differ, kl, angular_h, angular_z, angular_p = torch.cat(parts, -1)
    deviations = (kl, angular_h, angular_z, angular_p)
    means_and_maxima = [float(f) for each in deviations for f in (each.mean(), each.max())]
    return Noise(len(kl), int(differ.sum()), *means_and_maxima)


def _statistics(h: Tensor, other_h: Tensor, z: Tensor, other_z: Tensor) -> Tensor:
    """Likeliest token differs, KL, angular deviation of h, z, p; (5, rows) float64."""
    kl, _ = metrics.kl_in_float64(z, other_z - z, 1.0)
    return torch.stack(
        [
            (z.argmax(-1) != other_z.argmax(-1)).double(),
            kl,
            metrics.angular_deviation(h, other_h),
            metrics.angular_deviation(z, other_z),
            metrics.angular_deviation(z.softmax(-1), other_z.softmax(-1)),
        ]
    )


def _outputs(model: Any, **inputs: Any) -> Outputs:
    """One pass of a causal model: what lm_head reads, and the model's own logits."""
    with _read_by_lm_head(model) as read:
        z = model(**inputs).logits
    return Outputs(read.pop(), z)


@contextmanager
def _read_by_lm_head(model: Any) -> Iterator[list[Tensor]]:
    """While open, collects what lm_head reads, pass by pass, (batch, positions, d) each."""
    read: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        read.append(args[0])

    handle = anatomy.lm_head_of(model).register_forward_pre_hook(keep)
    try:
        yield read
    finally:
        handle.remove()


def _joined(parts: Sequence[Outputs]) -> Outputs:
    """Positions of several outputs, one after the other."""
    return Outputs(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
