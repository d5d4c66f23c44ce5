"""What is measured: how far a variant's state lies from dense, in each of the three spaces.

Every function takes `dense` and `variant` (or their difference, variant - dense), compares them
along the last axis and returns the other axes. Inputs are float32 or float64: sums over a
vocabulary are never taken in half precision (DESIGN of the definitions: README, "Definitions").
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SERIES_BELOW = 0.1
"""Rows with no |Y| above it take the bracket of Eq. 22 as a series: expm1(Y) - Y cancels there."""

_SERIES = (1.0, 1 / 3, 1 / 12, 1 / 60, 1 / 360, 1 / 2520, 1 / 20160, 1 / 181440)
"""(e^Y - 1 - Y) / (Y²/2) = Σ 2 Yⁿ/(n + 2)!; the next term is below 6e-15 at Y = 0.1."""

_TAIL = 60.0
"""Beyond it p e^Y is taken from q, which does not underflow where p does (float32)."""

_LARGEST_EXPONENT = 600.0
"""Beyond it e^Y leaves float64."""

_EXACT_IN_FLOAT32 = (1e-12, 50.0)
"""KL in this range comes out of the float32 sums within 3e-4 (tests); other rows use float64."""


class Geometry(NamedTuple):
    """How a perturbation turns and stretches a vector; each field (…,)."""

    angular_deviation: Tensor
    relative_orthogonal_magnitude: Tensor
    relative_parallel_magnitude: Tensor


class UniformShift(NamedTuple):
    """Δz over the vocabulary, every token alike; each field (…,), in logits."""

    mean_uniform: Tensor
    var_uniform: Tensor
    min_shift: Tensor
    max_shift: Tensor


class ProbabilityShift(NamedTuple):
    """Deviation of q from p, and the moments of Δz that theory predicts it from; fields (…,)."""

    angular_deviation: Tensor
    kl_divergence: Tensor
    reverse_kl_divergence: Tensor
    mean_p: Tensor
    var_p: Tensor
    var_escort: Tensor
    cumulant_3: Tensor
    cumulant_4: Tensor


def dot(u: Tensor, v: Tensor) -> Tensor:
    """Inner product over the last axis, (…, n), (…, n) -> (…,)."""
    product: Tensor = torch.linalg.vecdot(u, v)
    return product


def angular_deviation(dense: Tensor, variant: Tensor) -> Tensor:
    """1 - cos(dense, variant), (…, n) -> (…,), in [0, 2].

    Computed as ½|û - v̂|² with unit vectors: 1 - cos as written loses everything below 1e-7.
    NaN where either vector is zero, since it has no direction.
    """
    turn = dense * torch.linalg.vector_norm(dense, dim=-1, keepdim=True).reciprocal_()
    turn -= variant * torch.linalg.vector_norm(variant, dim=-1, keepdim=True).reciprocal_()
    half: Tensor = torch.linalg.vector_norm(turn, dim=-1).square_() / 2
    return half


def geometry(dense: Tensor, delta: Tensor) -> Geometry:
    """Angular deviation and relative magnitudes of `delta` = variant - dense, (…, n) -> (…,).

    relative_orthogonal_magnitude = |Δ⊥|/|dense| (Eq. 6, 7), relative_parallel_magnitude =
    |Δ∥|/|dense|. Δ⊥ is the explicit residual: |Δ|² - (u·Δ)²/|u|² cancels to nothing.
    """
    norm = torch.linalg.vector_norm(dense, dim=-1, keepdim=True)
    parallel = dot(dense, delta).unsqueeze(-1) / norm**2
    orthogonal = delta - parallel * dense
    return Geometry(
        angular_deviation(dense, dense + delta),
        torch.linalg.vector_norm(orthogonal, dim=-1) / norm.squeeze(-1),
        parallel.squeeze(-1).abs(),
    )


def uniform_shift(delta_z: Tensor) -> UniformShift:
    """Mean, variance and range of Δz over the vocabulary, (…, vocab) -> (…,)."""
    mean = delta_z.mean(-1, keepdim=True)
    centred = delta_z - mean
    return UniformShift(
        mean.squeeze(-1),
        dot(centred, centred) / delta_z.shape[-1],
        delta_z.amin(-1),
        delta_z.amax(-1),
    )


def probability_shift(
    z_dense: Tensor, delta_z: Tensor, p: Tensor, q: Tensor, temperature: float
) -> ProbabilityShift:
    """Deviation of q = softmax(z_variant/T) from p = softmax(z_dense/T), (rows, vocab) -> (rows,).

    KL(p‖q) in nats is Eq. 22, centred: with X = Δz/T and Y = X - E_p[X],
    KL = log1p(E_p[e^Y - 1 - Y]). Its sum with the reverse KL is
    E_p[Y (e^Y - 1)] / E_p[e^Y], a sum of terms that are never negative. Tokens with Y beyond 60
    enter through q = p e^Y / E_p[e^Y]; rows that float32 cannot sum are taken again in float64.

    The moments are of Δz itself, not of X: mean_p, var_p and the cumulants under p, var_escort
    under r ∝ p² (Eq. 8).
    """
    mean = dot(p, delta_z)
    shift = (delta_z - mean.unsqueeze(-1)).div_(temperature)
    shift -= dot(p, shift).unsqueeze(-1)  # the first mean is off by 1e-7 of itself, which is large
    weighted = p * shift

    has_tail = bool(shift.amax() > _TAIL)
    grown = torch.expm1(shift.clamp(max=_TAIL) if has_tail else shift).mul_(p)  # p (e^Y - 1)
    if has_tail:
        grown += _beyond_tail(z_dense, delta_z, p, q, mean, temperature)
    jeffreys = dot(grown, shift)
    excess = grown.sub_(weighted).sum(-1)
    kl = excess.log1p()
    both = jeffreys / (1 + excess)
    exact = (kl > _EXACT_IN_FLOAT32[0]) & (kl < _EXACT_IN_FLOAT32[1]) & both.isfinite()
    if not exact.all():
        again = ~exact
        in_float64 = kl_in_float64(z_dense[again], delta_z[again], temperature)
        kl[again], both[again] = (each.to(kl.dtype) for each in in_float64)

    variance = weighted.mul_(shift).sum(-1)
    third = weighted.mul_(shift).sum(-1)
    fourth = dot(weighted, shift)

    escort = torch.mul(p, p, out=weighted)
    escort_norm = escort.sum(-1)
    shift -= (dot(escort, shift) / escort_norm).unsqueeze(-1)
    var_escort = dot(escort.mul_(shift), shift) / escort_norm

    return ProbabilityShift(
        angular_deviation(p, q),
        kl,
        both - kl,
        mean,
        variance * temperature**2,
        var_escort * temperature**2,
        third * temperature**3,
        (fourth - 3 * variance**2) * temperature**4,
    )


def _beyond_tail(
    z_dense: Tensor, delta_z: Tensor, p: Tensor, q: Tensor, mean: Tensor, temperature: float
) -> Tensor:
    """p (e^Y - e^60) where Y > 60 and zero elsewhere, (…, vocab), with p e^Y as q E_p[e^Y]."""
    log_sum = _log_sum(z_dense + delta_z, q, temperature) - _log_sum(z_dense, p, temperature)
    growth = (log_sum - mean / temperature).exp().unsqueeze(-1)
    return torch.sub(q * growth, p, alpha=math.exp(_TAIL)).relu_()


def _log_sum(z: Tensor, p: Tensor, temperature: float) -> Tensor:
    """log Σ e^(z/T), read off the most likely token, (…, vocab) -> (…,)."""
    return z.amax(-1) / temperature - p.amax(-1).log()


def kl_in_float64(z_dense: Tensor, delta_z: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """KL(p‖q) and KL(p‖q) + KL(q‖p) in nats by Eq. 22, (rows, vocab) -> (rows,), float64.

    The bracket is a series where the whole shift is small, and a log-sum-exp where a token grows
    beyond float64: p may underflow where q does not.
    """
    p = (z_dense.double() / temperature).softmax(-1)
    shift = delta_z.double().div_(temperature)
    shift -= dot(p, shift).unsqueeze(-1)
    growth = shift.clamp(max=_LARGEST_EXPONENT).expm1_()
    excess = dot(p, growth - shift)
    small = shift.abs().amax(-1) < SERIES_BELOW
    if small.any():
        excess[small] = dot(p[small], _bracket_series(shift[small]))
    kl, both = excess.log1p(), dot(p, growth.mul_(shift)) / (1 + excess)

    large = shift.amax(-1) > _LARGEST_EXPONENT
    if large.any():
        log_q = (z_dense[large].double() / temperature).log_softmax(-1) + shift[large]
        kl[large] = log_q.logsumexp(-1)
        both[large] = dot(log_q.softmax(-1), shift[large])
    return kl, both


def _bracket_series(y: Tensor) -> Tensor:
    """e^y - 1 - y for |y| < 0.1."""
    total = torch.full_like(y, _SERIES[-1])
    for coefficient in reversed(_SERIES[:-1]):
        total.mul_(y).add_(coefficient)
    return total * y**2 / 2
