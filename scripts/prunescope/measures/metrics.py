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

_TAIL = 10.0
"""Beyond it p e^Y is taken from q, which does not underflow where p does (float32)."""

_LARGEST_EXPONENT = 600.0
"""Beyond it e^Y leaves float64."""

_FAR = 0.1
"""With KL both ways above it, KL is read off the log-sum-exps, whose error is about 1e-6."""

_EXACT_IN_FLOAT32 = (1e-25, 50.0)
"""KL in this range survives the underflow of p and the overflow of e^Y; other rows use float64."""

_LEAST_SHARE = 1e-3
"""KL/|pY| at which the rounding of the summands p Y, 6e-8 each and independent, is 1e-4 of KL."""


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


def norm(u: Tensor) -> Tensor:
    """Euclidean norm over the last axis, (…, n) -> (…,).

    `vector_norm` sums squares one after the other: off by 3e-5 for a peaked p in float32.
    """
    return dot(u, u).sqrt_()


def angular_deviation(dense: Tensor, variant: Tensor) -> Tensor:
    """1 - cos(dense, variant), (…, n) -> (…,), in [0, 2].

    Computed as ½|û - v̂|² with unit vectors: 1 - cos as written loses everything below 1e-7.
    A vector of zeros is turned by nothing to itself, 0, and is at right angles to any other, 1: its
    inner product with that is 0.
    """
    return _angular_deviation(dense, variant, norm(dense), norm(variant))


def _angular_deviation(
    dense: Tensor, variant: Tensor, dense_norm: Tensor, variant_norm: Tensor
) -> Tensor:
    """½|û - v̂|² as ½|v - (|v|/|u|) u|²/|v|², which takes one pass, with the norms given."""
    stretch = (variant_norm / dense_norm).unsqueeze(-1)
    turn = torch.addcmul(variant, dense, stretch, value=-1)
    deviation = (norm(turn) / variant_norm).square_() / 2
    zero = (dense_norm == 0) | (variant_norm == 0)
    return deviation.where(~zero, (dense_norm != variant_norm).to(deviation.dtype))


def geometry(dense: Tensor, delta: Tensor) -> Geometry:
    """Angular deviation and relative magnitudes of `delta` = variant - dense, (…, n) -> (…,).

    relative_orthogonal_magnitude = |Δ⊥|/|dense| (Eq. 6, 7), relative_parallel_magnitude =
    |Δ∥|/|dense|. Δ⊥ is the explicit residual: |Δ|² - (u·Δ)²/|u|² cancels to nothing.
    """
    variant = dense + delta
    dense_norm = norm(dense)
    turn = _angular_deviation(dense, variant, dense_norm, norm(variant))
    parallel = dot(dense, delta) / dense_norm**2
    orthogonal = torch.addcmul(delta, dense, parallel.unsqueeze(-1), value=-1)
    return Geometry(turn, norm(orthogonal) / dense_norm, parallel.abs())


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
    z_dense: Tensor,
    delta_z: Tensor,
    p: Tensor,
    q: Tensor,
    temperature: float,
    log_growth: Tensor | None = None,
) -> ProbabilityShift:
    """Deviation of q = softmax(z_variant/T) from p = softmax(z_dense/T), (rows, vocab) -> (rows,).

    KL(p‖q) in nats is Eq. 22, centred: with X = Δz/T and Y = X - E_p[X],
    KL = log E_p[e^Y] = log1p(E_p[e^Y - 1 - Y]). Its sum with the reverse KL is
    E_p[Y (e^Y - 1)] / E_p[e^Y] = E_q[Y]. Rows far from dense take the first form of both, as
    log E_p[e^Y] = log Σ e^(z_variant/T) - log Σ e^(z_dense/T) - E_p[X]; the others the second,
    sums of terms that are never negative (`_kl_near`). `log_growth` is that difference of
    `log_sum`, float64, for a caller whose rows share them.

    The moments are of Δz itself, not of X: mean_p, var_p and the cumulants under p, var_escort
    under r = p²/|p|² (Eq. 8).
    """
    mean = dot(p, delta_z)
    centre = mean / temperature
    shift = torch.add(-centre.unsqueeze(-1), delta_z, alpha=1 / temperature)
    error = dot(p, shift)  # the first mean is off by 1e-7 of itself, which is large
    shift -= error.unsqueeze(-1)
    weighted = p * shift

    if log_growth is None:
        tops = (z_dense + delta_z).amax(-1), z_dense.amax(-1)
        log_growth = log_sum(tops[0], q, temperature) - log_sum(tops[1], p, temperature)
    kl = (log_growth - centre.double() - error.double()).to(p.dtype)
    both = dot(q, shift)
    near = ~((kl > _FAR) & (both - kl > _FAR))
    if near.any():
        kl[near], both[near] = _kl_near(z_dense, delta_z, p, q, shift, kl, near, temperature)

    p_norm, q_norm = norm(p), norm(q)
    escort_mean = dot(weighted, p) / p_norm**2
    variance = weighted.mul_(shift).sum(-1)
    third = weighted.mul_(shift).sum(-1)
    fourth = weighted.mul_(shift).sum(-1)
    shift -= escort_mean.unsqueeze(-1)
    var_escort = (norm(shift.mul_(p)) / p_norm).square_()

    return ProbabilityShift(
        _angular_deviation(p, q, p_norm, q_norm),
        kl,
        both - kl,
        mean,
        variance * temperature**2,
        var_escort * temperature**2,
        third * temperature**3,
        (fourth - 3 * variance**2) * temperature**4,
    )


def _kl_near(
    z_dense: Tensor,
    delta_z: Tensor,
    p: Tensor,
    q: Tensor,
    shift: Tensor,
    rough_kl: Tensor,
    near: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """KL(p‖q) and KL(p‖q) + KL(q‖p) of the rows `near` by the bracket of Eq. 22, (near rows,).

    `shift` is Y, `rough_kl` is log E_p[e^Y] to 1e-6. Tokens with Y beyond the tail enter
    through q = p e^Y / E_p[e^Y]. Rows that float32 cannot sum are taken again in float64: rounding
    p Y costs e^Y - 1 - Y about 6e-8 |pY|, with |·| the norm over tokens.
    """
    p, shift = p[near], shift[near]
    weighted = p * shift
    beyond = bool(shift.amax() > _TAIL)
    grown = torch.expm1(shift.clamp(max=_TAIL) if beyond else shift).mul_(p)  # p (e^Y - 1)
    if beyond:
        tail = q[near].mul_(rough_kl[near].exp().unsqueeze(-1)).sub_(p, alpha=math.exp(_TAIL))
        grown += tail.relu_()
    jeffreys = dot(grown, shift)
    excess = grown.sub_(weighted).sum(-1)
    kl = excess.log1p()
    both = jeffreys / (1 + excess)
    least, most = _EXACT_IN_FLOAT32
    rounding = norm(weighted)
    exact = (kl > least) & (kl < most) & (kl > _LEAST_SHARE * rounding) & both.isfinite()
    if not exact.all():
        again = near.masked_scatter(near, ~exact)
        in_float64 = kl_in_float64(z_dense[again], delta_z[again], temperature)
        kl[~exact], both[~exact] = (each.to(kl.dtype) for each in in_float64)
    return kl, both


def log_sum(top: Tensor, p: Tensor, temperature: float) -> Tensor:
    """log Σ e^(z/T) from the largest logit and p = softmax(z/T), (…, vocab) -> (…,), float64."""
    return top.double() / temperature - p.amax(-1).double().log()


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
