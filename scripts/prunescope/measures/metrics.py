"""Metrics: how much a state of a variant differs from the dense one, in each of the three spaces.

Every function compares `dense` and `variant` (or gets their difference, variant - dense) along the
last axis and returns the other axes. Inputs are float32 or float64, because sums over a vocabulary
are never computed in half precision. docs/definitions.md explains the quantities.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SERIES_BELOW = 0.1
"""If no |Y| of a row is above this value, the bracket of Eq. 22 is a series; expm1(Y) - Y would
cancel."""

_SERIES = (1.0, 1 / 3, 1 / 12, 1 / 60, 1 / 360, 1 / 2520, 1 / 20160, 1 / 181440)
"""(e^Y - 1 - Y) / (Y²/2) = Σ 2 Yⁿ/(n + 2)!; the next term is below 6e-15 at Y = 0.1."""

_TAIL = 10.0
"""Largest Y in float32 for which p e^Y is computed from p; above it q is used instead, which does
not underflow."""

_LARGEST_EXPONENT = 600.0
"""Largest Y in float64 for which e^Y is computed; above it, it would overflow."""

_FAR = 0.1
"""If KL is larger in both directions, it is computed from log-sum-exps, with an error of 1e-6."""

_EXACT_IN_FLOAT32 = (1e-25, 50.0)
"""Range of KL that suffers neither from underflow of p nor from overflow of e^Y in float32."""

_LEAST_RATIO = 1e-3
"""Smallest ratio of KL and |pY| in float32.

The summands p Y are rounded independently, by 6e-8 each, which at this ratio is 1e-4 of KL.
"""


class Geometry(NamedTuple):
    """Angle and relative magnitudes of a perturbation of a vector; each field is (…,)."""

    angular_deviation: Tensor
    relative_orthogonal_magnitude: Tensor
    relative_parallel_magnitude: Tensor


class UniformShift(NamedTuple):
    """Distribution of Δz over the vocabulary with equal weights; each field is (…,), in logits."""

    mean_uniform: Tensor
    var_uniform: Tensor
    min_shift: Tensor
    max_shift: Tensor


class ProbabilityShift(NamedTuple):
    """Deviation of q from p, and the moments of Δz from which it is estimated; fields are (…,)."""

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

    `torch.linalg.vector_norm` adds the squares one by one, which causes an error of 3e-5 for a
    peaked p in float32.
    """
    return dot(u, u).sqrt_()


def angular_deviation(dense: Tensor, variant: Tensor) -> Tensor:
    """1 - cos(dense, variant), (…, n) -> (…,), in [0, 2].

    It is computed as ½|û - v̂|² with unit vectors, because the subtraction 1 - cos has an error of
    1e-7. The deviation between two vectors of zeros is 0. That between a vector of zeros and any
    other vector is 1, because their inner product is 0.
    """
    return _angular_deviation(dense, variant, norm(dense), norm(variant))


def _angular_deviation(
    dense: Tensor, variant: Tensor, dense_norm: Tensor, variant_norm: Tensor
) -> Tensor:
    """½|û - v̂|² for given norms, as ½|v - (|v|/|u|) u|²/|v|², which needs a single pass."""
    ratio = (variant_norm / dense_norm).unsqueeze(-1)
    difference = torch.addcmul(variant, dense, ratio, value=-1)
    deviation = (norm(difference) / variant_norm).square_() / 2
    any_is_zero = (dense_norm == 0) | (variant_norm == 0)
    return deviation.where(~any_is_zero, (dense_norm != variant_norm).to(deviation.dtype))


def geometry(dense: Tensor, delta: Tensor) -> Geometry:
    """Angular deviation and relative magnitudes of `delta` = variant - dense, (…, n) -> (…,).

    relative_orthogonal_magnitude is |Δ⊥|/|dense| (Eq. 6, 7), relative_parallel_magnitude is
    |Δ∥|/|dense|. Δ⊥ is computed as the residual vector, because the two terms of
    |Δ|² - (u·Δ)²/|u|² cancel.
    """
    variant = dense + delta
    dense_norm = norm(dense)
    deviation = _angular_deviation(dense, variant, dense_norm, norm(variant))
    parallel = dot(dense, delta) / dense_norm**2
    orthogonal = torch.addcmul(delta, dense, parallel.unsqueeze(-1), value=-1)
    return Geometry(deviation, norm(orthogonal) / dense_norm, parallel.abs())


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
    """Deviation of q = softmax(z_variant/T) from p = softmax(z_dense/T).

    KL(p‖q) in nats is computed by Eq. 22 in a centred form: with X = Δz/T and Y = X - E_p[X],
    KL = log E_p[e^Y] = log1p(E_p[e^Y - 1 - Y]). The sum of KL and the reverse KL is
    E_q[Y] = E_p[Y (e^Y - 1)] / E_p[e^Y]. If q is far from p, both are computed by the first form,
    with log E_p[e^Y] = log Σ e^(z_variant/T) - log Σ e^(z_dense/T) - E_p[X]. Otherwise they are
    computed by the last form, in which no term of a sum is negative (`_kl_near`).

    The moments are those of Δz and not of X: mean_p, var_p and the cumulants under p, and
    var_escort under r = p²/|p|² (Eq. 8).

    Parameters
    ----------
    z_dense, delta_z : dense logits and their change z_variant - z_dense, (rows, vocab).
    p, q : (rows, vocab).
    temperature : T.
    log_growth : difference of `log_sum` between the variant and the dense model, (rows,) float64,
        if the caller has computed it; None to compute it here.

    Returns
    -------
    Fields (rows,).
    """
    mean = dot(p, delta_z)
    centre = mean / temperature
    shift = torch.add(-centre.unsqueeze(-1), delta_z, alpha=1 / temperature)
    error = dot(p, shift)  # the mean has a relative error of 1e-7, which is too large
    shift -= error.unsqueeze(-1)
    weighted = p * shift

    if log_growth is None:
        largest_variant, largest_dense = (z_dense + delta_z).amax(-1), z_dense.amax(-1)
        log_growth = log_sum(largest_variant, q, temperature)
        log_growth = log_growth - log_sum(largest_dense, p, temperature)
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
    """KL(p‖q) and KL(p‖q) + KL(q‖p) of rows with a small KL, by the bracket of Eq. 22.

    Tokens with Y > `_TAIL` are computed from q = p e^Y / E_p[e^Y]. Rows that float32 cannot sum
    precisely are computed in float64. The rounding of p Y causes an error of about 6e-8 |pY| in the
    sum of p (e^Y - 1 - Y), where |·| is the norm over tokens.

    Parameters
    ----------
    z_dense, delta_z, p, q : (…, vocab).
    shift : Y, (…, vocab).
    rough_kl : log E_p[e^Y] with an error of 1e-6, (…,).
    near : (…,) bool, the rows to compute.
    temperature : T.

    Returns
    -------
    Two tensors, (rows,).
    """
    p, shift = p[near], shift[near]
    weighted = p * shift
    has_tail = bool(shift.amax() > _TAIL)
    growth = torch.expm1(shift.clamp(max=_TAIL) if has_tail else shift).mul_(p)  # p (e^Y - 1)
    if has_tail:
        tail = q[near].mul_(rough_kl[near].exp().unsqueeze(-1)).sub_(p, alpha=math.exp(_TAIL))
        growth += tail.relu_()
    jeffreys = dot(growth, shift)
    excess = growth.sub_(weighted).sum(-1)
    kl = excess.log1p()
    both = jeffreys / (1 + excess)
    least_kl, largest_kl = _EXACT_IN_FLOAT32
    is_in_range = (kl > least_kl) & (kl < largest_kl)
    exact = is_in_range & (kl > _LEAST_RATIO * norm(weighted)) & both.isfinite()
    if not exact.all():
        inexact_rows = near.masked_scatter(near, ~exact)
        in_float64 = kl_in_float64(z_dense[inexact_rows], delta_z[inexact_rows], temperature)
        kl[~exact], both[~exact] = (values.to(kl.dtype) for values in in_float64)
    return kl, both


def log_sum(largest: Tensor, p: Tensor, temperature: float) -> Tensor:
    """log Σ e^(z/T) over the vocabulary, (…,) float64.

    Parameters
    ----------
    largest : largest logit, (…,).
    p : softmax(z/T), (…, vocab).
    temperature : T.
    """
    return largest.double() / temperature - p.amax(-1).double().log()


def kl_in_float64(z_dense: Tensor, delta_z: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """KL(p‖q) and KL(p‖q) + KL(q‖p) in nats, (rows, vocab) -> (rows,), float64.

    KL(p‖q) = log1p(E_p[e^Y − 1 − Y]) with Y = Δz/T − E_p[Δz/T], which is Eq. 22 centred. The
    bracket is a series if all shifts of a row are small. If a shift is so large that e^Y
    overflows in float64, log-sum-exp is used instead, because p may underflow where q does not.

    Parameters
    ----------
    z_dense : (rows, vocab), logits of the dense model.
    delta_z : (rows, vocab), shifts of the logits.
    temperature : T of the softmax.
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
