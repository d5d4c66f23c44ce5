"""The noise floor: how far computations of one dense model are apart if only rounding differs.

In exact arithmetic, four computations would agree: one pass over a text, decoding it token by token
with a cache, the text in a padded batch, and the same weights in float32. In bfloat16 they do not,
because sums are taken in another order and rounded to eight binary digits. A deviation of a variant
that is smaller than these differences is not a finding. The statistics of the differences are
computed in float64.
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

_ROWS_PER_CHUNK = 32
"""Number of positions whose logits are compared at a time: 0.3 GB for a vocabulary of 150,000."""

_MEMORY_MB = 256
"""Memory for logits of states between blocks, in MB."""


class Noise(NamedTuple):
    """How far two computations of one model are apart, at temperature 1.

    Attributes
    ----------
    positions : number of positions compared.
    disagreements : number of positions at which the most likely tokens differ.
    kl_mean, kl_max : mean and maximum of the Kullback-Leibler divergence over positions, in nats.
    angular_… : mean and maximum of the angular deviation 1 - cos over positions, of the hidden
        state h after the final norm, the logits z, and p = softmax(z).
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
        """Share of positions at which the most likely tokens differ."""
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
    """Output of a model at a sequence of positions."""

    h: Tensor
    """(positions, d), hidden states after the final norm."""
    z: Tensor
    """(positions, vocab), logits."""


@torch.inference_mode()
def own_outputs(model: Any, token_ids: Sequence[int], start: int) -> tuple[Outputs, Tensor]:
    """Output of one pass over a text alone, as the model itself computes it.

    Parameters
    ----------
    model : a causal model.
    token_ids : token ids of a text.
    start : the first position whose states are returned.

    Returns
    -------
    outputs : hidden states and logits at all positions.
    states : (positions from `start` on, boundaries, d), the states between sublayers, which are
        those that `capture.residuals` reads for traces.
    """
    ids = torch.tensor([list(token_ids)], device=model.device)
    states: dict[int, Tensor] = {}

    def record(boundary: int, h: Tensor) -> None:
        states[boundary] = h[0, start:]

    with capture.boundaries(model, record):
        outputs = _outputs(model, input_ids=ids, use_cache=False)
    at_boundaries = [states[boundary] for boundary in sorted(states)]
    return Outputs(outputs.h[0], outputs.z[0]), torch.stack(at_boundaries, 1)


@torch.inference_mode()
def against_batched(model: Any, texts: Sequence[Sequence[int]], alone: Sequence[Outputs]) -> Noise:
    """Compare texts alone with the same texts in one batch, padded on the left as in `generate`.

    All positions of all texts are compared.

    Parameters
    ----------
    model : a causal model.
    texts : token ids of each text; the lengths should differ.
    alone : `own_outputs` of each text.
    """
    ids, mask = prompts.padded(texts, left=True, device=model.device)
    batch_outputs = _outputs(
        model,
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        use_cache=False,
    )
    batched = [
        Outputs(batch_outputs.h[row, -len(text) :], batch_outputs.z[row, -len(text) :])
        for row, text in enumerate(texts)
    ]
    return compare(_concatenate(alone), _concatenate(batched))


def traced_outputs(model: Any, token_ids: Sequence[int], start: int) -> Outputs:
    """Output as traces compute it: in one pass, with logits in float32 or better.

    Parameters
    ----------
    model : a causal model.
    token_ids : token ids of a text.
    start : the first position to return.
    """
    ids = torch.tensor(list(token_ids), device=model.device)
    h = histories.run(model, ids).h[0, start:]
    unembed = unembedding.output_of(model)
    z = torch.cat([unembed(rows) for rows in h.split(_ROWS_PER_CHUNK)])
    return Outputs(h, z)


@torch.inference_mode()
def cached_outputs(model: Any, token_ids: Sequence[int], start: int) -> tuple[Outputs, Tensor]:
    """Output as decoding computes it: the prompt in one pass, then token by token with a cache.

    Parameters
    ----------
    model : a causal model.
    token_ids : token ids of a text, such as `prompts.context_of` an answer.
    start : position of the last prompt token. The tokens up to it are read in one pass, as a
        prompt is, and the others one by one.

    Returns
    -------
    outputs : hidden states and the model's own logits at the positions from `start` on.
    states : (positions, boundaries, d), the states between sublayers at these positions.
    """
    ids = torch.tensor([list(token_ids)], device=model.device)
    states: dict[int, list[Tensor]] = {}

    def record(boundary: int, h: Tensor) -> None:
        states.setdefault(boundary, []).append(h[0, -1])

    with _record_lm_head_inputs(model) as lm_head_inputs, capture.boundaries(model, record):
        output = model(input_ids=ids[:, : start + 1], use_cache=True, logits_to_keep=1)
        steps = [Outputs(lm_head_inputs.pop()[0, -1:], output.logits[0, -1:])]
        for position in range(start + 1, ids.shape[1]):
            output = model(
                input_ids=ids[:, position : position + 1],
                past_key_values=output.past_key_values,
                use_cache=True,
            )
            steps.append(Outputs(lm_head_inputs.pop()[0, -1:], output.logits[0, -1:]))
    at_boundaries = [torch.stack(states[boundary]) for boundary in sorted(states)]
    return _concatenate(steps), torch.stack(at_boundaries, 1)


def between_blocks(
    unembed: unembedding.Unembedding, first: Tensor, second: Tensor
) -> BetweenBlocks:
    """How far two computations of the states between sublayers are apart, measured as in traces.

    Parameters
    ----------
    unembed : the readout: the paper's Eq. 2, z = lm_head(h), or with the final norm before it.
    first, second : (positions, boundaries, d), the states of each computation.
    """
    first_states, second_states = (states.to(unembed.dtype) for states in (first, second))
    written = {
        sublayer: second_states[:, sublayer + 1] for sublayer in range(second_states.shape[1] - 1)
    }
    measured = sublayer_traces.statistics(first_states, written, (), unembed, [1.0], _MEMORY_MB)
    return BetweenBlocks(
        measured.h.angular_deviation,
        measured.z.angular_deviation,
        measured.p.angular_deviation[..., 0],
        measured.p.kl_divergence[..., 0],
    )


def compare(first: Outputs, second: Outputs) -> Noise:
    """Compute the statistics of two outputs at the same positions, in float64.

    Raises
    ------
    finite.NotFinite
        if a hidden state or logit is NaN or infinite.
    """
    parts = []
    for start in range(0, len(first.h), _ROWS_PER_CHUNK):
        chunk = slice(start, start + _ROWS_PER_CHUNK)
        h, other_h = (
            finite.checked(outputs.h[chunk], "noise: hidden states") for outputs in (first, second)
        )
        z, other_z = (
            finite.checked(outputs.z[chunk], "noise: logits") for outputs in (first, second)
        )
        parts.append(_statistics(h.double(), other_h.double(), z.double(), other_z.double()))
    differ, kl, angular_h, angular_z, angular_p = torch.cat(parts, -1)
    deviations = (kl, angular_h, angular_z, angular_p)
    means_and_maxima = [
        float(statistic)
        for deviation in deviations
        for statistic in (deviation.mean(), deviation.max())
    ]
    return Noise(len(kl), int(differ.sum()), *means_and_maxima)


def _statistics(h: Tensor, other_h: Tensor, z: Tensor, other_z: Tensor) -> Tensor:
    """Per-position statistics of two outputs.

    Parameters
    ----------
    h, other_h : (rows, d) float64, hidden states.
    z, other_z : (rows, vocab) float64, logits.

    Returns
    -------
    (5, rows) float64: whether the most likely token differs, KL in nats, and the angular deviations
    of h, z and p.
    """
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
    """Run one pass of a causal model; returns the input of its lm_head and its own logits."""
    with _record_lm_head_inputs(model) as lm_head_inputs:
        z = model(**inputs).logits
    return Outputs(lm_head_inputs.pop(), z)


@contextmanager
def _record_lm_head_inputs(model: Any) -> Iterator[list[Tensor]]:
    """Collect the input of lm_head in each pass, (batch, positions, d), inside a `with` block."""
    lm_head_inputs: list[Tensor] = []

    def record(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        lm_head_inputs.append(args[0])

    handle = anatomy.lm_head_of(model).register_forward_pre_hook(record)
    try:
        yield lm_head_inputs
    finally:
        handle.remove()


def _concatenate(parts: Sequence[Outputs]) -> Outputs:
    """Concatenate several outputs along their positions."""
    return Outputs(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
