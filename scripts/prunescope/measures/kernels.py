"""Sums over tokens that `fused` makes statistics of, compiled for a CPU by numba.

A tile of logits is read into the first-level cache and serves every temperature. Loops are written
so that they vectorise, hence the exponentials of our own: libm's are calls. All of it is in one
file: numba keeps what it compiled until this file changes.

Sums may be taken in any order, so their last bits depend on the machine code, and there must be one
machine code for each kernel. A helper that is a function of its own has two: numba optimises it
once by itself and once more as a part of each kernel that calls it, both under one name. A process
that has compiled the helper links the kernel to the first; one that reads the kernel from the
cache has only the second. Helpers are therefore always a part of their kernel (`forceinline`) and
never in the cache: the job that compiles a kernel and the jobs that load it run the same code.
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
"""Logits taken together: two rows of 8 kB stay in the first-level cache, float32 sums short."""

KEPT = 2.0
"""Likeliest token of p still likeliest but for this much of z/T under q: a scale to compare at."""


class LogitSum(IntEnum):
    """Columns of the sums over the logits of one pair, Δ = y - z: see `_sum_logits`."""

    SQUARES = 0
    ALONG = 1
    TOTAL = 2
    ACROSS = 3
    SPREAD = 4
    LEAST = 5
    MOST = 6


class Centre(IntEnum):
    """Columns of what the moments of one pair are about: see `_find_centres`."""

    MEAN = 0
    ESCORT_MEAN = 1
    GROWTH = 2
    STRETCH = 3


class Moment(IntEnum):
    """Columns of the sums over the tokens of one pair: see `_sum_moments`."""

    FIRST = 0
    SECOND = 1
    THIRD = 2
    FOURTH = 3
    ESCORT_FIRST = 4
    ESCORT_SECOND = 5
    ALONG = 6
    TURNED = 7
    GAIN = 8
    JEFFREYS = 9
    REVERSE = 10


class Rows(NamedTuple):
    """What is known of each row by itself, arrays of all rows.

    top, place : the largest logit and where it stands. squares : Σ z². sums : (rows, temperatures,
    2), Σ e and Σ e² of e = e^((z - top)/T).
    """

    top: Array
    place: Array
    squares: Array
    sums: Array


class Pair(NamedTuple):
    """A dense row and a variant's, and what is known of each by itself.

    z, y : (vocabulary,) logits of dense and of the variant. tops : the largest of each. place :
    of the largest in z. of_dense, of_variant : (temperatures, 2), from `_sum_row`.
    """

    z: Array
    y: Array
    tops: Array
    place: int
    of_dense: Array
    of_variant: Array


_EXACT: Any = {"fastmath": {"contract"}, "forceinline": True}
"""Sums are taken as written, whatever the caller allows: adding a constant rounds to whole."""

_FORMAT = {types.float32: (23, 127), types.float64: (52, 1023)}
"""Binary digits after the point, and the bias of the exponent (IEEE 754)."""


@intrinsic
def _power_of_two(typing_context: Any, x: Any) -> Any:
    """2ⁿ as a float, from the float n + 1.5·2^(digits): its lowest bits are n.

    Written in LLVM's terms, since numba widens every sum of integers to 64 bits.
    """
    digits, bias = _FORMAT[x]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(x.bitwidth)
        biased = builder.add(builder.bitcast(args[0], integer), integer(bias))
        return builder.bitcast(builder.shl(biased, integer(digits)), args[0].type)

    return x(x), generate


def exponential(x: float) -> float:
    """e^x for x <= 0, zero where that is below the smallest normal number."""
    raise NotImplementedError("runs in compiled code only")


def bracket(y: float) -> float:
    """e^y - 1 - y for |y| <= 1, without cancellation."""
    raise NotImplementedError("runs in compiled code only")


def _taylor(first: int, last: int, real: type) -> tuple[Any, ...]:
    """1/n! from the last power down to the first."""
    return tuple(real(1 / factorial(n)) for n in range(last, first - 1, -1))


# e^x = 2ⁿ e^r, n = round(x/ln 2), |r| <= ln 2/2; n is read off the bits of x/ln 2 + 1.5·2^(digits),
# which rounds to whole. ln 2 is split so that n times its first part is exact (Cody and Waite).


@overload(exponential, jit_options=_EXACT)
def _exponential(x: Any) -> Callable[[Any], Any]:
    single = x == types.float32
    real = np.float32 if single else np.float64
    to_whole, per_octave = real(1.5 * 2.0 ** _FORMAT[x][0]), real(1 / np.log(2))
    ln2_high = real(0.693359375) if single else real(6.93147180369123816490e-01)
    ln2_low = real(np.log(2) - float(ln2_high)) if single else real(1.90821492927058770002e-10)
    least, zero = real(-87.3 if single else -708.3), real(0)
    series = _taylor(0, 7 if single else 13, real)

    def run(x: Any) -> Any:
        rounded = x * per_octave + to_whole
        n = rounded - to_whole
        r = (x - n * ln2_high) - n * ln2_low
        total = zero
        for coefficient in series:
            total = total * r + coefficient
        return total * _power_of_two(rounded) if x > least else zero  # type: ignore[call-arg, operator]

    return run


# The series is short enough to be unrolled; b(2u) = (u + b(u))² + 2 b(u) leads back to y.


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
"""Sums in any order, so that they vectorise."""

_kernel = njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
"""What `fused` calls."""

_part = njit(nogil=True, forceinline=True, fastmath=_ANY_ORDER)
"""A part of kernels."""

_in_order = njit(nogil=True, forceinline=True, fastmath={"contract"})
"""A part that sums as written, for differences of nearly equal numbers."""


@_in_order
def _shift(dense: float, variant: float, start: float) -> float:
    """D of a token."""
    return (variant - dense) - start


@_in_order
def _centred(x: float, scale: float, middle: float, rest: float) -> float:
    """x/T less a centre given in two parts."""
    return (x * scale - middle) - rest


@_part
def _largest(z: Array) -> tuple[float, int]:
    """The largest logit and its place."""
    top, start = z[0], 0
    for low in range(0, z.shape[0], TILE):
        tile = z[low : low + TILE]
        best = tile[0]
        for value in tile:
            best = max(best, value)
        if best > top:
            top, start = best, low
    for place in range(start, z.shape[0]):
        if z[place] == top:
            return top, place
    return top, 0


@_part
def _extent(z: Array, y: Array) -> tuple[float, float]:
    """Smallest and largest of y - z."""
    low = high = y[0] - z[0]
    for i in range(z.shape[0]):
        low, high = min(low, y[i] - z[i]), max(high, y[i] - z[i])
    return low, high


@_part
def _sum_row(z: Array, top: float, inverse: Array, sums: Array) -> float:
    """Σ z², returned; Σ e and Σ e² of e = e^((z - top)/T), into `sums` (temperatures, 2)."""
    squares = 0.0
    for low in range(0, z.shape[0], TILE):
        tile = z[low : low + TILE]
        square = z[0] - z[0]
        for i in range(tile.shape[0]):
            square += tile[i] * tile[i]
        squares += square
        for t in range(inverse.shape[0]):
            scale = inverse[t]
            total = square_total = scale - scale
            for i in range(tile.shape[0]):
                e = exponential((tile[i] - top) * scale)
                total += e
                square_total += e * e
            sums[t, 0] += total
            sums[t, 1] += square_total
    return squares


@_part
def _sum_logits(z: Array, y: Array, found: Array) -> None:
    """Σ z Δ, Σ Δ, then Σ |Δ⊥|² and Σ (Δ - mean)², smallest and largest Δ = y - z, into `found`.

    found : (7,), by `LogitSum`, with the Σ z² of `_sum_row` in its place.
    """
    n = z.shape[0]
    found[LogitSum.LEAST], found[LogitSum.MOST] = np.inf, -np.inf
    for low in range(0, n, TILE):
        dense, variant = z[low : low + TILE], y[low : low + TILE]
        along = total = z[0] - z[0]
        for i in range(dense.shape[0]):
            delta = variant[i] - dense[i]
            along += dense[i] * delta
            total += delta
        found[LogitSum.ALONG] += along
        found[LogitSum.TOTAL] += total
        least, most = _extent(dense, variant)
        found[LogitSum.LEAST] = min(found[LogitSum.LEAST], least)
        found[LogitSum.MOST] = max(found[LogitSum.MOST], most)
    ratio = z.dtype.type(found[LogitSum.ALONG] / found[LogitSum.SQUARES])
    mean = z.dtype.type(found[LogitSum.TOTAL] / n)
    for low in range(0, n, TILE):
        dense, variant = z[low : low + TILE], y[low : low + TILE]
        across = spread = z[0] - z[0]
        for i in range(dense.shape[0]):
            delta = variant[i] - dense[i]
            residual = delta - ratio * dense[i]
            across += residual * residual
            spread += (delta - mean) * (delta - mean)
        found[LogitSum.ACROSS] += across
        found[LogitSum.SPREAD] += spread


@_part
def _find_centres(pair: Pair, inverse: Array, centres: Array) -> None:
    """What the moments of one pair are about, at every temperature; D = Δ - Δ_t.

    Parameters
    ----------
    pair : its `place` is t.
    inverse : (temperatures,), 1/T; its dtype is that of the sums' terms.
    centres : (temperatures, 4), by `Centre`, filled: X = D/T has mean MEAN under p, ESCORT_MEAN
        under r; GROWTH is log E_p[e^Y], Y = X - MEAN; STRETCH scales f so that f - e is small: to
        f_t = 1 where q has kept t among its likeliest, else to the length of e.
    """
    z, y, tops, place, of_dense, of_variant = pair
    real = inverse.dtype.type
    n, zero = z.shape[0], real(0)
    start, top_z = y[place] - z[place], real(tops[0])
    for low in range(0, n, TILE):
        dense, variant = z[low : low + TILE], y[low : low + TILE]
        for t in range(inverse.shape[0]):
            scale = inverse[t]
            mean = escort = zero
            for i in range(dense.shape[0]):
                shift = real(_shift(dense[i], variant[i], start))
                e = exponential((dense[i] - top_z) * scale)
                weighted = e * shift
                mean += weighted
                escort += e * weighted
            centres[t, Centre.MEAN] += mean
            centres[t, Centre.ESCORT_MEAN] += escort

    for t in range(inverse.shape[0]):
        per_degree = np.float64(inverse[t])
        centres[t, Centre.MEAN] *= per_degree / of_dense[t, 0]
        centres[t, Centre.ESCORT_MEAN] *= per_degree / of_dense[t, 1]
        moved = (np.float64(y[place]) - np.float64(z[place])) * per_degree
        lifted = (np.float64(tops[1]) - np.float64(tops[0])) * per_degree - moved
        growth = np.log(of_variant[t, 0]) - np.log(of_dense[t, 0]) + lifted
        centres[t, Centre.GROWTH] = growth - centres[t, Centre.MEAN]
        fallen = (np.float64(tops[1]) - np.float64(y[place])) * per_degree
        same = np.sqrt(of_dense[t, 1] / of_variant[t, 1])
        centres[t, Centre.STRETCH] = np.exp(fallen) if fallen < KEPT else same


@_part
def _sum_moments(pair: Pair, inverse: Array, centres: Array, most: float, sums: Array) -> None:
    """Sums over tokens of one pair at every temperature, with weights e of p, f of q, e_t = 1.

    Parameters
    ----------
    pair, inverse, centres : as in `_find_centres`, which has filled the centres.
    most : log E_p[e^Y] up to which the bracket is summed.
    sums : (temperatures, 11), by `Moment`, filled: Σ eYⁿ for n to 4; Σ e²Yʳ and its square's,
        Yʳ = X - ESCORT_MEAN; Σ e d and Σ d², d = STRETCH f - e; Σ e (e^Y - 1 - Y),
        Σ e Y (e^Y - 1); Σ f Y.
    """
    z, y, tops, place, of_dense, of_variant = pair
    real = inverse.dtype.type
    n, zero, one = z.shape[0], real(0), real(1)
    start = y[place] - z[place]
    top_z, top_y = real(tops[0]), real(tops[1])
    lost = np.float64(tops[1]) - np.float64(y[place])
    for low in range(0, n, TILE):
        dense, variant = z[low : low + TILE], y[low : low + TILE]
        for t in range(inverse.shape[0]):
            scale = inverse[t]
            middle = real(centres[t, Centre.MEAN])
            rest = real(centres[t, Centre.MEAN] - middle)
            escort_middle = real(centres[t, Centre.ESCORT_MEAN])
            escort_rest = real(centres[t, Centre.ESCORT_MEAN] - escort_middle)
            grown = zero
            if centres[t, Centre.GROWTH] < most:
                grown = real(np.exp(centres[t, Centre.GROWTH]) * of_dense[t, 0] / of_variant[t, 0])
            stretch = real(centres[t, Centre.STRETCH])
            anchored = one if lost * np.float64(scale) < KEPT else zero
            first = second = third = fourth = zero
            escort_first = escort_second = zero
            along = turned = gain = jeffreys = reverse = zero
            for i in range(dense.shape[0]):
                shift = real(_shift(dense[i], variant[i], start))
                e = exponential((dense[i] - top_z) * scale)
                f = exponential((variant[i] - top_y) * scale)
                x = shift * scale
                near = abs(x) < anchored
                difference = e * (x + bracket(x)) if near else stretch * f - e
                along += e * difference
                turned += difference * difference
                x = _centred(shift, scale, middle, rest)
                power = e * x
                first += power
                near = abs(x) < one
                excess = e * bracket(x) if near else f * grown - e - power
                gain += excess
                jeffreys += x * (excess + power)
                power *= x
                second += power
                power *= x
                third += power
                fourth += power * x
                reverse += f * x
                x = _centred(shift, scale, escort_middle, escort_rest)
                power = e * e * x
                escort_first += power
                escort_second += power * x
            powers = (first, second, third, fourth, escort_first, escort_second)
            for column, total in enumerate(powers):
                sums[t, Moment.FIRST + column] += total
            for column, total in enumerate((along, turned, gain, jeffreys, reverse)):
                sums[t, Moment.ALONG + column] += total


@_kernel
def take_rows(places: Array, read: Array, z: Array, inverse: Array, rows: Rows) -> None:
    """What is known of some of the rows `read`, by itself, into the arrays of all rows."""
    top, place, squares, sums = rows
    for row in read[places]:
        top[row], place[row] = _largest(z[row])
        squares[row] = _sum_row(z[row], inverse.dtype.type(top[row]), inverse, sums[row])


@_kernel
def take_logits(places: Array, z: Array, pairs: Array, squares: Array, found: Array) -> None:
    """`_sum_logits` of some pairs, (pairs, 2) rows of z."""
    for k in places:
        dense, variant = pairs[k]
        found[k, LogitSum.SQUARES] = squares[dense]
        _sum_logits(z[dense], z[variant], found[k])


@_kernel
def take_pairs(
    places: Array,
    z: Array,
    pairs: Array,
    inverse: Array,
    rows: Rows,
    most: float,
    centres: Array,
    moments: Array,
) -> None:
    """`_find_centres` and `_sum_moments` of some pairs.

    Parameters
    ----------
    places : of the pairs. z : (rows, vocabulary). pairs : (pairs, 2) rows of z.
    inverse : (temperatures,), 1/T. rows : what is known of each row. most : as in `_sum_moments`.
    centres, moments : (pairs, temperatures, …), filled.
    """
    for k in places:
        a, b = pairs[k]
        tops = np.array([rows.top[a], rows.top[b]])
        pair = Pair(z[a], z[b], tops, rows.place[a], rows.sums[a], rows.sums[b])
        _find_centres(pair, inverse, centres[k])
        _sum_moments(pair, inverse, centres[k], most, moments[k])
