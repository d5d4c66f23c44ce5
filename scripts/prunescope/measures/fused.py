"""The statistics of `metrics` for many pairs of logits at a time, on a CPU.

Computed with tensors, they read the vocabulary about forty times per pair and temperature.
`kernels` needs two passes over a pair for all temperatures, the first for the centres of the
moments, and the second for the moments. Each pair is summed by a single thread, so that the results
do not depend on the number of threads.

The shift of each token is measured relative to that of the dense model's likeliest token t,
D = Δz - Δz_t. If a single token has nearly all the probability, D is exactly zero at this token,
and the other tokens are summed without cancellation.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from prunescope.measures import kernels
from prunescope.measures.kernels import Array, Centre, LogitSum, Moment, RowSums
from prunescope.measures.metrics import Geometry, ProbabilityShift, UniformShift

_NEAR = 0.1
"""KL up to which it is the sum of the bracket of Eq. 22.

Larger values are differences of log-sum-exps, which are precise to 1e-5.
"""

_LARGEST_GROWTH = {"float32": 20.0, "float64": 600.0}
"""The largest log E_p[e^Y] for which the bracket is summed; above it e^Y would overflow."""

_LEAST_SQUARE = 1e-30
"""Smallest Σ r Y² that float32 can sum; below it p² underflows, and float64 is used."""


class Comparison(NamedTuple):
    """Statistics of pairs in float64.

    Fields are (…,) in the shape of the pairs, and (…, temperatures) in `probability_shift`.
    """

    geometry: Geometry
    uniform_shift: UniformShift
    probability_shift: ProbabilityShift


def compare(
    z: Tensor, dense: Array, variant: Array, temperatures: Sequence[float], threads: int
) -> Comparison:
    """The statistics of `metrics` for pairs of rows of logits.

    Parameters
    ----------
    z : (rows, vocab) float32 or float64, contiguous, on the CPU.
    dense, variant : indices of rows of z, arrays of the same shape (…,).
    temperatures : temperatures of the softmax.
    threads : number of threads among which the pairs are divided.
    """
    logits: Array = z.numpy()
    pairs = np.stack([dense.ravel(), variant.ravel()], 1)
    inverse = 1 / np.asarray(temperatures, np.float64)
    inverse_in_dtype = inverse.astype(logits.dtype)
    row_sums = _row_sums(logits, pairs, inverse_in_dtype, threads)
    logit_sums = np.zeros((len(pairs), len(LogitSum)))
    _run_on_threads(
        kernels.sum_logits, len(pairs), threads, logits, pairs, row_sums.squares, logit_sums
    )

    with np.errstate(invalid="ignore", divide="ignore"):  # rows of zeros
        deviation, *magnitudes = _geometry_fields(logit_sums)
    dense_is_zero, variant_is_zero = (row_sums.squares[pairs] == 0).T
    any_is_zero = dense_is_zero | variant_is_zero
    deviation = np.where(any_is_zero, dense_is_zero != variant_is_zero, deviation)

    shift, is_precise = _probability_fields(logits, pairs, inverse_in_dtype, row_sums, threads)
    is_constant = logit_sums[:, LogitSum.MINIMUM] == logit_sums[:, LogitSum.MAXIMUM]
    is_precise |= is_constant[:, None]  # p and q are then exactly equal
    for t, imprecise in enumerate(~is_precise.T):
        if imprecise.any():  # these pairs are summed again in float64
            inverse_t = inverse[t : t + 1]
            row_sums = _row_sums(logits, pairs[imprecise], inverse_t, threads)
            shift[:, imprecise, t : t + 1], _ = _probability_fields(
                logits, pairs[imprecise], inverse_t, row_sums, threads
            )

    def shaped(fields: Iterable[Array]) -> Iterator[Tensor]:
        return (torch.from_numpy(field.reshape(*dense.shape, *field.shape[1:])) for field in fields)

    return Comparison(
        Geometry(*shaped((deviation, *magnitudes))),
        UniformShift(*shaped(_uniform_fields(logit_sums, z.shape[1]))),
        ProbabilityShift(*shaped(shift)),
    )


def _run_on_threads(kernel: Callable[..., None], count: int, threads: int, *args: Any) -> None:
    """Call a kernel on every thread, each with a part of the indices from 0 to `count` - 1."""
    parts = np.array_split(np.arange(count), threads)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda part: kernel(part, *args), parts):
            pass


def _row_sums(z: Array, pairs: Array, inverse: Array, threads: int) -> RowSums:
    """Results of all rows that belong to a pair; those of other rows are undefined."""
    largest, argmax = np.empty(len(z), z.dtype), np.empty(len(z), np.int64)
    sums = RowSums(largest, argmax, np.empty(len(z)), np.zeros((len(z), len(inverse), 2)))
    rows = np.unique(pairs)
    _run_on_threads(kernels.sum_rows, len(rows), threads, rows, z, inverse, sums)
    return sums


def _geometry_fields(sums: Array) -> tuple[Array, Array, Array]:
    """Fields of `Geometry` from the sums over logits, (pairs, 7) -> (pairs,) each.

    1 - cos is computed as sin²/(1 + cos) with sin = |Δ⊥|/|variant|, in which nothing cancels.
    """
    squares, dot, orthogonal = (
        sums[:, column]
        for column in (LogitSum.DENSE_SQUARES, LogitSum.DOT, LogitSum.ORTHOGONAL_SQUARES)
    )
    ratio = dot / squares
    variant_squares = squares * (1 + ratio) ** 2 + orthogonal
    cosine = squares * (1 + ratio) / np.sqrt(squares * variant_squares)
    sine_squared = orthogonal / variant_squares
    deviation = np.where(cosine > 0, sine_squared / (1 + np.abs(cosine)), 1 - cosine)
    return deviation, np.sqrt(orthogonal / squares), np.abs(ratio)


def _uniform_fields(sums: Array, vocabulary: int) -> tuple[Array, Array, Array, Array]:
    """Fields of `UniformShift` from the sums over logits, (pairs, 7) -> (pairs,) each."""
    mean = sums[:, LogitSum.SUM] / vocabulary
    variance = sums[:, LogitSum.CENTRED_SQUARES] / vocabulary
    return mean, variance, sums[:, LogitSum.MINIMUM], sums[:, LogitSum.MAXIMUM]


def _probability_fields(
    z: Array, pairs: Array, inverse: Array, row_sums: RowSums, threads: int
) -> tuple[Array, Array]:
    """Fields of `ProbabilityShift`, and whether they are precise.

    The centre of the moments is rounded. Their first moment, `error`, is the difference between the
    mean and this centre, by which the other moments are corrected.

    Parameters
    ----------
    z : (rows, vocab).
    pairs : (pairs, 2), the dense row and the variant row of each pair.
    inverse : (temperatures,), 1/T, in the dtype of the sums.
    row_sums : results of the rows of all pairs.
    threads : number of threads.

    Returns
    -------
    (fields, pairs, temperatures), and (pairs, temperatures) bool.
    """
    size = (len(pairs), len(inverse))
    centres, moments = np.zeros((*size, len(Centre))), np.zeros((*size, len(Moment)))
    largest_growth = _LARGEST_GROWTH[inverse.dtype.name]
    arguments = (z, pairs, inverse, row_sums, largest_growth, centres, moments)
    _run_on_threads(kernels.sum_moments, len(pairs), threads, *arguments)

    dense, variant = pairs.T
    total, squares = np.moveaxis(row_sums.sums[dense], -1, 0)
    variant_total, variant_squares = np.moveaxis(row_sums.sums[variant], -1, 0)
    centre, log_growth, variant_scale = (
        centres[..., column] for column in (Centre.MEAN, Centre.LOG_GROWTH, Centre.VARIANT_SCALE)
    )
    sums = {moment: moments[..., moment] for moment in Moment}
    error, second = sums[Moment.FIRST] / total, sums[Moment.SECOND] / total
    third, fourth = sums[Moment.THIRD] / total, sums[Moment.FOURTH] / total
    escort_error, escort_second = (
        sums[moment] / squares for moment in (Moment.ESCORT_FIRST, Moment.ESCORT_SECOND)
    )
    dot, difference_squares = sums[Moment.DIFFERENCE_DOT], sums[Moment.DIFFERENCE_SQUARES]
    variance = second - error**2
    third_central = third - 3 * error * second + 2 * error**3
    fourth_central = fourth - 4 * error * third + 6 * error**2 * second - 3 * error**4

    scaled_squares = variant_scale**2 * variant_squares
    cosine = (squares + dot) / np.sqrt(squares * scaled_squares)
    sine_squared = (squares * difference_squares - dot**2) / (squares * scaled_squares)

    # KL(p‖q), and its sum with KL(q‖p), first from log-sum-exps, then from the bracket.
    far_kl, far_both = log_growth - error, sums[Moment.VARIANT_FIRST] / variant_total - error
    excess, jeffreys = sums[Moment.BRACKET] / total + error, sums[Moment.JEFFREYS] / total
    with np.errstate(invalid="ignore", divide="ignore"):  # pairs without a sum of the bracket
        near_kl = np.log1p(excess) - error
        near_both = (jeffreys - error * excess) / (1 + excess)
    has_bracket = log_growth < largest_growth
    is_near = has_bracket & ~((far_kl > _NEAR) & (far_both - far_kl > _NEAR))
    kl, both = np.where(is_near, near_kl, far_kl), np.where(is_near, near_both, far_both)
    is_precise = (has_bracket | (far_both - far_kl > _NEAR)) & (escort_second > _LEAST_SQUARE)
    argmax = row_sums.argmax[dense]
    shift_of_argmax = z[variant, argmax].astype(np.float64) - z[dense, argmax]
    wide_inverse = inverse.astype(np.float64)
    fields = ProbabilityShift(
        angular_deviation=np.maximum(sine_squared, 0) / (1 + cosine),
        kl_divergence=kl,
        reverse_kl_divergence=both - kl,
        mean_p=shift_of_argmax[:, None] + (centre + error) / wide_inverse,
        var_p=variance / wide_inverse**2,
        var_escort=(escort_second - escort_error**2) / wide_inverse**2,
        cumulant_3=third_central / wide_inverse**3,
        cumulant_4=(fourth_central - 3 * variance**2) / wide_inverse**4,
    )
    return np.stack(fields), is_precise
