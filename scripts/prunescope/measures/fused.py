"""The statistics of `metrics` for many pairs of logits at once, on a CPU.

Written with tensors they read the vocabulary some forty times a pair and temperature; `kernels`
takes two passes over a pair for all of them, the first for the centres its moments are about, the
second for the moments. A pair is summed by one thread, so numbers do not depend on how many there
are. Shifts are counted from that of dense's likeliest token t, D = Δz - Δz_t, which is exactly zero
where a saturated p has its mass; what is left is summed without cancellation.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from prunescope.measures import kernels
from prunescope.measures.kernels import Array, Centre, LogitSum, Moment, Rows
from prunescope.measures.metrics import Geometry, ProbabilityShift, UniformShift

_NEAR = 0.1
"""Below it KL is summed as the bracket of Eq. 22; above, read off log-sum-exps, good to 1e-5."""

_LARGEST_GROWTH = {"float32": 20.0, "float64": 600.0}
"""log E_p[e^Y] up to which the bracket is summed; beyond it e^Y would overflow."""

_LEAST_SQUARE = 1e-30
"""Σ r Y² below it is made of p² that float32 cannot hold: the pair is taken again in float64."""


class Comparison(NamedTuple):
    """Statistics of pairs, float64; fields (…,), those of `probability_shift` (…, temperatures)."""

    geometry: Geometry
    uniform_shift: UniformShift
    probability_shift: ProbabilityShift


def compare(
    z: Tensor, dense: Array, variant: Array, temperatures: Sequence[float], threads: int
) -> Comparison:
    """What `metrics` says of pairs of logits.

    Parameters
    ----------
    z : (rows, vocab) float32 or float64, contiguous, on the CPU.
    dense, variant : rows of z, arrays of one shape (…,).
    threads : that share the pairs.
    """
    logits: Array = z.numpy()
    pairs = np.stack([dense.ravel(), variant.ravel()], 1)
    inverse = 1 / np.asarray(temperatures, np.float64)
    narrow = inverse.astype(logits.dtype)
    rows = _of_rows(logits, pairs, narrow, threads)
    whole = np.zeros((len(pairs), len(LogitSum)))
    _spread(kernels.take_logits, len(pairs), threads, logits, pairs, rows.squares, whole)

    with np.errstate(invalid="ignore", divide="ignore"):  # rows of zeros
        turn, *magnitudes = _turned(whole)
    zero_dense, zero_variant = (rows.squares[pairs] == 0).T
    turn = np.where(zero_dense | zero_variant, zero_dense != zero_variant, turn)

    shift, holds = _of_tokens(logits, pairs, narrow, rows, threads)
    one_shift = whole[:, LogitSum.LEAST] == whole[:, LogitSum.MOST]
    holds |= one_shift[:, None]  # for all tokens: p stays, exactly
    for t, again in enumerate(~holds.T):
        if again.any():
            precise = inverse[t : t + 1]
            rows = _of_rows(logits, pairs[again], precise, threads)
            shift[:, again, t : t + 1], _ = _of_tokens(logits, pairs[again], precise, rows, threads)

    def shaped(fields: Iterable[Array]) -> Iterator[Tensor]:
        return (torch.from_numpy(field.reshape(*dense.shape, *field.shape[1:])) for field in fields)

    return Comparison(
        Geometry(*shaped((turn, *magnitudes))),
        UniformShift(*shaped(_uniform(whole, z.shape[1]))),
        ProbabilityShift(*shaped(shift)),
    )


def _spread(kernel: Callable[..., None], count: int, threads: int, *args: Any) -> None:
    """Run a kernel on every thread, each with a part of the places below `count`."""
    parts = np.array_split(np.arange(count), threads)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda part: kernel(part, *args), parts):
            pass


def _of_rows(z: Array, pairs: Array, inverse: Array, threads: int) -> Rows:
    """Sums over each row that some pair reads; the others stay undefined."""
    top, place = np.empty(len(z), z.dtype), np.empty(len(z), np.int64)
    known = Rows(top, place, np.empty(len(z)), np.zeros((len(z), len(inverse), 2)))
    read = np.unique(pairs)
    _spread(kernels.take_rows, len(read), threads, read, z, inverse, known)
    return known


def _turned(sums: Array) -> tuple[Array, Array, Array]:
    """Fields of `Geometry` from sums by `LogitSum`, (pairs, 7) -> (pairs,) each.

    1 - cos is sin²/(1 + cos) with sin = |Δ⊥|/|variant|: nothing cancels.
    """
    squares, along, across = (
        sums[:, column] for column in (LogitSum.SQUARES, LogitSum.ALONG, LogitSum.ACROSS)
    )
    ratio = along / squares
    variant = squares * (1 + ratio) ** 2 + across
    cosine = squares * (1 + ratio) / np.sqrt(squares * variant)
    turn = np.where(cosine > 0, across / variant / (1 + np.abs(cosine)), 1 - cosine)
    return turn, np.sqrt(across / squares), np.abs(ratio)


def _uniform(sums: Array, vocabulary: int) -> tuple[Array, Array, Array, Array]:
    """Fields of `UniformShift` from sums by `LogitSum`, (pairs, 7) -> (pairs,) each."""
    mean, variance = sums[:, LogitSum.TOTAL] / vocabulary, sums[:, LogitSum.SPREAD] / vocabulary
    return mean, variance, sums[:, LogitSum.LEAST], sums[:, LogitSum.MOST]


def _of_tokens(
    z: Array, pairs: Array, inverse: Array, rows: Rows, threads: int
) -> tuple[Array, Array]:
    """Fields of `ProbabilityShift`, (fields, pairs, temperatures), and where they hold.

    Moments are about a centre that is off by `error`, their own first moment.
    """
    size = (len(pairs), len(inverse))
    centres, moments = np.zeros((*size, len(Centre))), np.zeros((*size, len(Moment)))
    most = _LARGEST_GROWTH[inverse.dtype.name]
    known = (z, pairs, inverse, rows, most, centres, moments)
    _spread(kernels.take_pairs, len(pairs), threads, *known)

    dense, variant = pairs.T
    total, squares = np.moveaxis(rows.sums[dense], -1, 0)
    variant_total, variant_squares = np.moveaxis(rows.sums[variant], -1, 0)
    centre, growth, stretch = (
        centres[..., column] for column in (Centre.MEAN, Centre.GROWTH, Centre.STRETCH)
    )
    of = {moment: moments[..., moment] for moment in Moment}
    error, second = of[Moment.FIRST] / total, of[Moment.SECOND] / total
    third, fourth = of[Moment.THIRD] / total, of[Moment.FOURTH] / total
    escort_error, escort_second = (
        of[moment] / squares for moment in (Moment.ESCORT_FIRST, Moment.ESCORT_SECOND)
    )
    along, turned = of[Moment.ALONG], of[Moment.TURNED]
    variance = second - error**2
    skew = third - 3 * error * second + 2 * error**3
    fourth = fourth - 4 * error * third + 6 * error**2 * second - 3 * error**4

    scaled = stretch**2 * variant_squares
    cosine = (squares + along) / np.sqrt(squares * scaled)
    sine_squared = (squares * turned - along**2) / (squares * scaled)

    far, far_both = growth - error, of[Moment.REVERSE] / variant_total - error
    gain, jeffreys = of[Moment.GAIN] / total + error, of[Moment.JEFFREYS] / total
    with np.errstate(invalid="ignore", divide="ignore"):  # where the bracket was not summed
        near, near_both = np.log1p(gain) - error, (jeffreys - error * gain) / (1 + gain)
    summed = growth < most
    is_near = summed & ~((far > _NEAR) & (far_both - far > _NEAR))
    kl, both = np.where(is_near, near, far), np.where(is_near, near_both, far_both)
    holds = (summed | (far_both - far > _NEAR)) & (escort_second > _LEAST_SQUARE)
    start = z[variant, rows.place[dense]].astype(np.float64) - z[dense, rows.place[dense]]
    degree = inverse.astype(np.float64)
    fields = ProbabilityShift(
        angular_deviation=np.maximum(sine_squared, 0) / (1 + cosine),
        kl_divergence=kl,
        reverse_kl_divergence=both - kl,
        mean_p=start[:, None] + (centre + error) / degree,
        var_p=variance / degree**2,
        var_escort=(escort_second - escort_error**2) / degree**2,
        cumulant_3=skew / degree**3,
        cumulant_4=(fourth - 3 * variance**2) / degree**4,
    )
    return np.stack(fields), holds
