"""Sums over the vocabulary, from which `fused` computes statistics; compiled for a CPU by numba.

The logits are processed in tiles. A tile is read into the first-level cache once and used for all
temperatures. The loops are written so that they vectorise. This module has its own exponential
functions for this reason, because those of the C library are function calls, and those of Intel's
SVML are slower (docs/performance.md). All kernels are in one file, because numba's cache of
compiled code is valid until the file changes.

The compiler may reorder the sums, so that their last bits depend on the machine code. Each kernel
must therefore have a single machine code. A helper that is a separate function has two: numba
optimises it by itself, and again as a part of each kernel that calls it, under the same name. A
process that has compiled the helper links the kernel to the first version; a process that reads the
kernel from the cache has only the second. Helpers are therefore always inlined (`forceinline`) and
never cached. The job that compiles a kernel and the jobs that load it then run the same code.

Notation in this module, for one pair of rows and one temperature T: z and y are the logits of the
dense model and of the variant, Δ = y - z, and t is the token with the largest z. D = Δ - Δ_t is
exactly zero at t, and X = D/T. The unnormalised probabilities are e = e^((z - max z)/T) of p and
f = e^((y - max y)/T) of q.
"""

from collections.abc import Callable
from enum import IntEnum
from math import factorial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

Array = NDArray[Any]

TILE = 2048
"""Number of logits in a tile.

Two tiles, of 8 kB each in float32, fit into the first-level cache, and a sum over a tile is short
enough for float32.
"""

LARGEST_FALL = 2.0
"""Largest (max y - y_t)/T for which token t is the reference for the scale of f.

Above this value, t is no longer among the likeliest tokens of q; see `_find_centres`.
"""


class LogitSum(IntEnum):
    """Columns of the sums over the logits of one pair."""

    DENSE_SQUARES = 0
    """Σ z²."""
    DOT = 1
    """Σ z Δ."""
    SUM = 2
    """Σ Δ."""
    ORTHOGONAL_SQUARES = 3
    """Σ Δ⊥², where Δ⊥ is the part of Δ that is orthogonal to z."""
    CENTRED_SQUARES = 4
    """Σ (Δ - mean Δ)²."""
    MINIMUM = 5
    """Smallest Δ."""
    MAXIMUM = 6
    """Largest Δ."""


class Centre(IntEnum):
    """Columns of the centres of the moments of one pair."""

    MEAN = 0
    """E_p[X]."""
    ESCORT_MEAN = 1
    """E_r[X] under r ∝ p²."""
    LOG_GROWTH = 2
    """log E_p[e^Y] with Y = X - E_p[X]."""
    VARIANT_SCALE = 3
    """Factor of f that makes f - e small; see `_find_centres`."""


class Moment(IntEnum):
    """Columns of the sums over the tokens of one pair, with Y = X - MEAN, Yʳ = X - ESCORT_MEAN."""

    FIRST = 0
    """Σ e Y."""
    SECOND = 1
    """Σ e Y²."""
    THIRD = 2
    """Σ e Y³."""
    FOURTH = 3
    """Σ e Y⁴."""
    ESCORT_FIRST = 4
    """Σ e² Yʳ."""
    ESCORT_SECOND = 5
    """Σ e² (Yʳ)²."""
    DIFFERENCE_DOT = 6
    """Σ e d with d = VARIANT_SCALE f - e."""
    DIFFERENCE_SQUARES = 7
    """Σ d²."""
    BRACKET = 8
    """Σ e (e^Y - 1 - Y), the bracket of Eq. 22."""
    JEFFREYS = 9
    """Σ e Y (e^Y - 1)."""
    VARIANT_FIRST = 10
    """Σ f Y."""


class RowSums(NamedTuple):
    """Results for each row of logits by itself.

    Attributes
    ----------
    largest : (rows,), the largest logit.
    argmax : (rows,), its token.
    squares : (rows,), Σ z².
    sums : (rows, temperatures, 2), Σ e and Σ e².
    """

    largest: Array
    argmax: Array
    squares: Array
    sums: Array


class Pair(NamedTuple):
    """A row of the dense model and one of the variant, with the results for each by itself.

    Attributes
    ----------
    z, y : (vocabulary,), logits of the dense model and of the variant.
    largest : (2,), the largest logit of each.
    argmax : t, the token of the largest logit in z.
    dense_sums, variant_sums : (temperatures, 2), from `_sum_row`.
    """

    z: Array
    y: Array
    largest: Array
    argmax: int
    dense_sums: Array
    variant_sums: Array


_EXACT: Any = {"fastmath": {"contract"}, "forceinline": True}
"""Options of functions whose sums keep their order even if the caller allows another one.

They round to integers by adding and subtracting a large constant.
"""

_FORMAT = {types.float32: (23, 127), types.float64: (52, 1023)}
"""Number of binary digits after the point, and the bias of the exponent (IEEE 754)."""


@intrinsic
def _power_of_two(typing_context: Any, x: Any) -> Any:
    """2ⁿ as a float, from the float n + 1.5·2^(digits), whose lowest bits are n.

    This is written as LLVM instructions, because numba widens all sums of integers to 64 bits.
    """
    digits, bias = _FORMAT[x]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(x.bitwidth)
        biased = builder.add(builder.bitcast(args[0], integer), integer(bias))
        return builder.bitcast(builder.shl(biased, integer(digits)), args[0].type)

    return x(x), generate


def exponential(x: float) -> float:
    """e^x for x <= 0, or zero if this is below the smallest normal number."""
    raise NotImplementedError("runs in compiled code only")


def bracket(y: float) -> float:
    """e^y - 1 - y for |y| <= 1, without cancellation."""
    raise NotImplementedError("runs in compiled code only")


def _taylor(first: int, last: int, real: type) -> tuple[Any, ...]:
    """The coefficients 1/n! in the dtype `real`, from n = `last` down to n = `first`."""
    return tuple(real(1 / factorial(n)) for n in range(last, first - 1, -1))


# e^x = 2ⁿ e^r with n = round(x/ln 2) and |r| <= ln 2/2. The sum x/ln 2 + 1.5·2^(digits) is rounded
# to an integer, and its lowest bits are n. ln 2 is split into two parts such that the product of n
# and the first part is exact (Cody and Waite).


@overload(exponential, jit_options=_EXACT)
def _exponential(x: Any) -> Callable[[Any], Any]:
    single = x == types.float32
    real = np.float32 if single else np.float64
    to_integer, per_octave = real(1.5 * 2.0 ** _FORMAT[x][0]), real(1 / np.log(2))
    ln2_high = real(0.693359375) if single else real(6.93147180369123816490e-01)
    ln2_low = real(np.log(2) - float(ln2_high)) if single else real(1.90821492927058770002e-10)
    least, zero = real(-87.3 if single else -708.3), real(0)
    series = _taylor(0, 7 if single else 13, real)

    def run(x: Any) -> Any:
        rounded = x * per_octave + to_integer
        n = rounded - to_integer
        r = (x - n * ln2_high) - n * ln2_low
        total = zero
        for coefficient in series:
            total = total * r + coefficient
        return total * _power_of_two(rounded) if x > least else zero  # type: ignore[call-arg, operator]

    return run


# The series is short enough to be unrolled. In float64 it is evaluated at u = y/4, and the identity
# b(2u) = (u + b(u))² + 2 b(u) is applied twice.


@overload(bracket, jit_options=_EXACT)
def _bracket(y: Any) -> Callable[[Any], Any]:
    single = y == types.float32
    real = np.float32 if single else np.float64
    series = _taylor(2, 11 if single else 13, real)
    zero, two, quarter = real(0), real(2), real(0.25)

    def run_single(y: Any) -> Any:
        total = zero
        for coefficient in series:
            total = total * y + coefficient
        return y * y * total

    def run_double(y: Any) -> Any:
        u = y * quarter
        total = zero
        for coefficient in series:
            total = total * u + coefficient
        total *= u * u
        for _ in range(2):
            grown = u + total
            total = grown * grown + two * total
            u *= two
        return total

    return run_single if single else run_double


_ANY_ORDER: Any = {"reassoc", "contract", "nsz", "nnan"}
"""Sums may be reordered, so that the loops vectorise."""

_kernel = njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
"""Compiles a function that `fused` calls."""

_helper = njit(nogil=True, forceinline=True, fastmath=_ANY_ORDER)
"""Compiles a function that kernels call."""

_helper_in_order = njit(nogil=True, forceinline=True, fastmath={"contract"})
"""Compiles a helper that keeps the order of sums, for differences of nearly equal numbers."""


@_helper_in_order
def _shift(dense: float, variant: float, start: float) -> float:
    """D of a token; `start` is Δ_t."""
    return (variant - dense) - start


@_helper_in_order
def _centred(x: float, scale: float, centre: float, centre_rest: float) -> float:
    """x/T minus a centre that is given as a sum of two parts; `scale` is 1/T."""
    return (x * scale - centre) - centre_rest


@_helper
def _largest(z: Array) -> tuple[float, int]:
    """The largest logit and its token."""
    largest, start = z[0], 0
    for low in range(0, z.shape[0], TILE):
        tile = z[low : low + TILE]
        largest_of_tile = tile[0]
        for value in tile:
            largest_of_tile = max(largest_of_tile, value)
        if largest_of_tile > largest:
            largest, start = largest_of_tile, low
    for token in range(start, z.shape[0]):
        if z[token] == largest:
            return largest, token
    return largest, 0


@_helper
def _extent(z: Array, y: Array) -> tuple[float, float]:
    """The smallest and the largest y - z."""
    low = high = y[0] - z[0]
    for i in range(z.shape[0]):
        low, high = min(low, y[i] - z[i]), max(high, y[i] - z[i])
    return low, high


@_helper
def _sum_row(z: Array, largest: float, inverse: Array, sums: Array) -> float:
    """Add Σ e and Σ e² to `sums`, (temperatures, 2), and return Σ z².

    `largest` is the largest logit, and `inverse` is 1/T, (temperatures,).
    """
    squares = 0.0
    for low in range(0, z.shape[0], TILE):
        tile = z[low : low + TILE]
        squares_of_tile = z[0] - z[0]  # zero in the dtype of z
        for i in range(tile.shape[0]):
            squares_of_tile += tile[i] * tile[i]
        squares += squares_of_tile
        for t in range(inverse.shape[0]):
            scale = inverse[t]
            total = square_total = scale - scale
            for i in range(tile.shape[0]):
                e = exponential((tile[i] - largest) * scale)
                total += e
                square_total += e * e
            sums[t, 0] += total
            sums[t, 1] += square_total
    return squares


@_helper
def _sum_logits(z: Array, y: Array, sums: Array) -> None:
    """Fill the sums over the logits of one pair.

    `sums` is (7,), with columns `LogitSum`; Σ z² is already in its column.
    """
    n = z.shape[0]
    sums[LogitSum.MINIMUM], sums[LogitSum.MAXIMUM] = np.inf, -np.inf
    for low in range(0, n, TILE):
        dense, variant = z[low : low + TILE], y[low : low + TILE]
        dot = total = z[0] - z[0]
        for i in range(dense.shape[0]):
            delta = variant[i] - dense[i]
            dot += dense[i] * delta
            total += delta
        sums[LogitSum.DOT] += dot
        sums[LogitSum.SUM] += total
        smallest, largest = _extent(dense, variant)
        sums[LogitSum.MINIMUM] = min(sums[LogitSum.MINIMUM], smallest)
        sums[LogitSum.MAXIMUM] = max(sums[LogitSum.MAXIMUM], largest)
    ratio = z.dtype.type(sums[LogitSum.DOT] / sums[LogitSum.DENSE_SQUARES])
    mean = z.dtype.type(sums[LogitSum.SUM] / n)
    for low in range(0, n, TILE):
        dense, variant = z[low : low + TILE], y[low : low + TILE]
        orthogonal = centred = z[0] - z[0]
        for i in range(dense.shape[0]):
            delta = variant[i] - dense[i]
            residual = delta - ratio * dense[i]
            orthogonal += residual * residual
            centred += (delta - mean) * (delta - mean)
        sums[LogitSum.ORTHOGONAL_SQUARES] += orthogonal
        sums[LogitSum.CENTRED_SQUARES] += centred


@_helper
def _find_centres(pair: Pair, inverse: Array, centres: Array) -> None:
    """Compute the centres of the moments of one pair at every temperature.

    VARIANT_SCALE multiplies f such that f_t = e_t = 1 if t is still among the likeliest tokens of
    q, and otherwise such that f and e have the same length.

    Parameters
    ----------
    pair : the two rows.
    inverse : (temperatures,), 1/T; the terms of sums have its dtype.
    centres : (temperatures, 4), with columns `Centre`; is filled.
    """
    z, y, largest, argmax, dense_sums, variant_sums = pair
    real = inverse.dtype.type
    n, zero = z.shape[0], real(0)
    start, largest_z = y[argmax] - z[argmax], real(largest[0])
    for low in range(0, n, TILE):
        dense, variant = z[low : low + TILE], y[low : low + TILE]
        for t in range(inverse.shape[0]):
            scale = inverse[t]
            mean = escort = zero
            for i in range(dense.shape[0]):
                shift = real(_shift(dense[i], variant[i], start))
                e = exponential((dense[i] - largest_z) * scale)
                weighted = e * shift
                mean += weighted
                escort += e * weighted
            centres[t, Centre.MEAN] += mean
            centres[t, Centre.ESCORT_MEAN] += escort

    for t in range(inverse.shape[0]):
        per_degree = np.float64(inverse[t])
        centres[t, Centre.MEAN] *= per_degree / dense_sums[t, 0]
        centres[t, Centre.ESCORT_MEAN] *= per_degree / dense_sums[t, 1]
        shift_of_argmax = (np.float64(y[argmax]) - np.float64(z[argmax])) * per_degree
        rise = (np.float64(largest[1]) - np.float64(largest[0])) * per_degree - shift_of_argmax
        log_growth = np.log(variant_sums[t, 0]) - np.log(dense_sums[t, 0]) + rise
        centres[t, Centre.LOG_GROWTH] = log_growth - centres[t, Centre.MEAN]
        fall = (np.float64(largest[1]) - np.float64(y[argmax])) * per_degree
        equal_length = np.sqrt(dense_sums[t, 1] / variant_sums[t, 1])
        centres[t, Centre.VARIANT_SCALE] = np.exp(fall) if fall < LARGEST_FALL else equal_length


@_helper
def _sum_moments(
    pair: Pair, inverse: Array, centres: Array, largest_growth: float, sums: Array
) -> None:
    """Sum over the tokens of one pair at every temperature.

    Parameters
    ----------
    pair, inverse, centres : as in `_find_centres`, which has filled the centres.
    largest_growth : the largest log E_p[e^Y] for which the bracket is summed.
    sums : (temperatures, 11), with columns `Moment`; is filled.
    """
    z, y, largest, argmax, dense_sums, variant_sums = pair
    real = inverse.dtype.type
    n, zero, one = z.shape[0], real(0), real(1)
    start = y[argmax] - z[argmax]
    largest_z, largest_y = real(largest[0]), real(largest[1])
    fall = np.float64(largest[1]) - np.float64(y[argmax])
    for low in range(0, n, TILE):
        dense, variant = z[low : low + TILE], y[low : low + TILE]
        for t in range(inverse.shape[0]):
            scale = inverse[t]
            mean = real(centres[t, Centre.MEAN])
            mean_rest = real(centres[t, Centre.MEAN] - mean)
            escort_mean = real(centres[t, Centre.ESCORT_MEAN])
            escort_mean_rest = real(centres[t, Centre.ESCORT_MEAN] - escort_mean)
            growth = zero  # e e^Y = growth f
            if centres[t, Centre.LOG_GROWTH] < largest_growth:
                growth = real(
                    np.exp(centres[t, Centre.LOG_GROWTH]) * dense_sums[t, 0] / variant_sums[t, 0]
                )
            variant_scale = real(centres[t, Centre.VARIANT_SCALE])
            # Below this |X|, d is e (e^X - 1); zero if f is not scaled to f_t = 1.
            series_below = one if fall * np.float64(scale) < LARGEST_FALL else zero
            first = second = third = fourth = zero
            escort_first = escort_second = zero
            dot = squares = bracket_sum = jeffreys = variant_first = zero
            for i in range(dense.shape[0]):
                shift = real(_shift(dense[i], variant[i], start))
                e = exponential((dense[i] - largest_z) * scale)
                f = exponential((variant[i] - largest_y) * scale)
                x = shift * scale
                is_small = abs(x) < series_below
                difference = e * (x + bracket(x)) if is_small else variant_scale * f - e
                dot += e * difference
                squares += difference * difference
                x = _centred(shift, scale, mean, mean_rest)
                power = e * x
                first += power
                is_small = abs(x) < one
                excess = e * bracket(x) if is_small else f * growth - e - power
                bracket_sum += excess
                jeffreys += x * (excess + power)
                power *= x
                second += power
                power *= x
                third += power
                fourth += power * x
                variant_first += f * x
                x = _centred(shift, scale, escort_mean, escort_mean_rest)
                power = e * e * x
                escort_first += power
                escort_second += power * x
            powers = (first, second, third, fourth, escort_first, escort_second)
            for column, total in enumerate(powers):
                sums[t, Moment.FIRST + column] += total
            for column, total in enumerate((dot, squares, bracket_sum, jeffreys, variant_first)):
                sums[t, Moment.DIFFERENCE_DOT + column] += total


@_kernel
def sum_rows(indices: Array, rows: Array, z: Array, inverse: Array, row_sums: RowSums) -> None:
    """Fill the results of single rows.

    Parameters
    ----------
    indices : positions in `rows` that this call computes.
    rows : indices of rows of z.
    z : (all rows, vocabulary).
    inverse : (temperatures,), 1/T.
    row_sums : arrays for all rows of z.
    """
    largest, argmax, squares, sums = row_sums
    for row in rows[indices]:
        largest[row], argmax[row] = _largest(z[row])
        squares[row] = _sum_row(z[row], inverse.dtype.type(largest[row]), inverse, sums[row])


@_kernel
def sum_logits(indices: Array, z: Array, pairs: Array, squares: Array, sums: Array) -> None:
    """Fill the sums over logits of pairs.

    Parameters
    ----------
    indices : the pairs that this call computes.
    z : (rows, vocabulary).
    pairs : (pairs, 2), the dense row and the variant row of each pair.
    squares : (rows,), Σ z².
    sums : (pairs, 7), with columns `LogitSum`.
    """
    for k in indices:
        dense, variant = pairs[k]
        sums[k, LogitSum.DENSE_SQUARES] = squares[dense]
        _sum_logits(z[dense], z[variant], sums[k])


@_kernel
def sum_moments(
    indices: Array,
    z: Array,
    pairs: Array,
    inverse: Array,
    row_sums: RowSums,
    largest_growth: float,
    centres: Array,
    moments: Array,
) -> None:
    """Fill the centres and moments of pairs.

    Parameters
    ----------
    indices, z, pairs : as in `sum_logits`.
    inverse : (temperatures,), 1/T.
    row_sums : results of `sum_rows` for the rows of the pairs.
    largest_growth : the largest log E_p[e^Y] for which the bracket is summed.
    centres : (pairs, temperatures, 4), with columns `Centre`.
    moments : (pairs, temperatures, 11), with columns `Moment`.
    """
    for k in indices:
        dense, variant = pairs[k]
        largest = np.array([row_sums.largest[dense], row_sums.largest[variant]])
        pair = Pair(
            z[dense],
            z[variant],
            largest,
            row_sums.argmax[dense],
            row_sums.sums[dense],
            row_sums.sums[variant],
        )
        _find_centres(pair, inverse, centres[k])
        _sum_moments(pair, inverse, centres[k], largest_growth, moments[k])
