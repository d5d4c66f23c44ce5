"""The statistics of `metrics` for many pairs of logits at once, compiled, on a CPU.

Written with tensors they read the vocabulary some forty times a pair and temperature. Here a tile of
logits is read into the first-level cache and serves every temperature: two passes over a pair, the
first for the centres its moments are taken about, the second for the moments. Loops give
sums over tokens, arrays of pairs give the statistics. A pair is summed by one thread, so numbers do
not depend on how many there are.

Shifts are counted from that of dense's likeliest token t, D = Δz - Δz_t, which is exactly zero
where a saturated p has its mass; what is left is summed without cancellation.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from prunescope.metrics import Geometry, ProbabilityShift, UniformShift
from prunescope.vector_math import bracket, exponential

Array = NDArray[Any]

_TILE = 2048
"""Logits taken together: two rows of 8 kB stay in the first-level cache, float32 sums short."""

_NEAR = 0.1
"""Below it KL is summed as the bracket of Eq. 22; above, read off log-sum-exps, good to 1e-5."""

_LARGEST_GROWTH = {"float32": 20.0, "float64": 600.0}
"""log E_p[e^Y] up to which the bracket is summed; beyond it e^Y would overflow."""

_LEAST_SQUARE = 1e-30
"""Σ r Y² below it is made of p² that float32 cannot hold: the pair is taken again in float64."""

_KEPT = 2.0
"""Likeliest token of p still likeliest but for this much of z/T under q: a scale to compare at."""

_compiled = njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz", "nnan"})
"""Sums in any order, so that they vectorise."""


@_compiled  # type: ignore[untyped-decorator]
def _largest(z: Array) -> tuple[float, int]:
    """The largest logit and its place."""
    top, start = z[0], 0
    for low in range(0, z.shape[0], _TILE):
        tile = z[low : low + _TILE]
        best = tile[0]
        for value in tile:
            best = max(best, value)
        if best > top:
            top, start = best, low
    for place in range(start, z.shape[0]):
        if z[place] == top:
            return top, place
    return top, 0


@_compiled  # type: ignore[untyped-decorator]
def _extent(z: Array, y: Array) -> tuple[float, float]:
    """Smallest and largest of y - z."""
    low = high = y[0] - z[0]
    for i in range(z.shape[0]):
        low, high = min(low, y[i] - z[i]), max(high, y[i] - z[i])
    return low, high


@_compiled  # type: ignore[untyped-decorator]
def _sum_row(z: Array, top: float, inverse: Array, sums: Array) -> float:
    """Σ z², returned; Σ e and Σ e² of e = e^((z - top)/T), into `sums` (temperatures, 2)."""
    squares = 0.0
    for low in range(0, z.shape[0], _TILE):
        tile = z[low : low + _TILE]
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


@_compiled  # type: ignore[untyped-decorator]
def _sum_logits(z: Array, y: Array, found: Array) -> None:
    """Σ z Δ, Σ Δ, then Σ |Δ⊥|² and Σ (Δ - mean)², smallest and largest Δ = y - z, into `found`.

    found : (7,), at 0 the Σ z² of `_sum_row`.
    """
    n = z.shape[0]
    found[5], found[6] = np.inf, -np.inf
    for low in range(0, n, _TILE):
        dense, variant = z[low : low + _TILE], y[low : low + _TILE]
        along = total = z[0] - z[0]
        for i in range(dense.shape[0]):
            delta = variant[i] - dense[i]
            along += dense[i] * delta
            total += delta
        found[1] += along
        found[2] += total
        least, most = _extent(dense, variant)
        found[5], found[6] = min(found[5], least), max(found[6], most)
    ratio, mean = z.dtype.type(found[1] / found[0]), z.dtype.type(found[2] / n)
    for low in range(0, n, _TILE):
        dense, variant = z[low : low + _TILE], y[low : low + _TILE]
        across = spread = z[0] - z[0]
        for i in range(dense.shape[0]):
            delta = variant[i] - dense[i]
            residual = delta - ratio * dense[i]
            across += residual * residual
            spread += (delta - mean) * (delta - mean)
        found[3] += across
        found[4] += spread


@_compiled  # type: ignore[untyped-decorator]
def _sum_pair(
    z: Array,
    y: Array,
    tops: Array,
    place: int,
    inverse: Array,
    of_dense: Array,
    of_variant: Array,
    most: float,
    centres: Array,
    sums: Array,
) -> None:
    """Sums over tokens of one pair at every temperature, with weights e of p, f of q, e_t = 1.

    Parameters
    ----------
    tops : largest logit of z and of y. place : t, where z has it.
    inverse : (temperatures,), 1/T; its dtype is that of the sums' terms.
    of_dense, of_variant : (temperatures, 2), from `_sum_row`.
    most : log E_p[e^Y] up to which the bracket is summed.
    centres : (temperatures, 4), filled: X = D/T has mean [0] under p, [1] under r; [2] is
        log E_p[e^Y], Y = X - [0]; [3] scales f so that f - e is small: to f_t = 1 where q
        has kept t among its likeliest, else to the length of e.
    sums : (temperatures, 11), filled: Σ eYⁿ for n to 4; Σ e²Yʳ and its square's, Yʳ = X - [1];
        Σ e d and Σ d², d = [3] f - e; Σ e (e^Y - 1 - Y), Σ e Y (e^Y - 1); Σ f Y.
    """
    real = inverse.dtype.type
    n, zero, one = z.shape[0], real(0), real(1)
    start = y[place] - z[place]
    top_z, top_y = real(tops[0]), real(tops[1])
    for low in range(0, n, _TILE):
        dense, variant = z[low : low + _TILE], y[low : low + _TILE]
        for t in range(inverse.shape[0]):
            scale = inverse[t]
            mean = escort = zero
            for i in range(dense.shape[0]):
                shift = real((variant[i] - dense[i]) - start)
                e = exponential((dense[i] - top_z) * scale)
                weighted = e * shift
                mean += weighted
                escort += e * weighted
            centres[t, 0] += mean
            centres[t, 1] += escort

    for t in range(inverse.shape[0]):
        per_degree = np.float64(inverse[t])
        centres[t, 0] *= per_degree / of_dense[t, 0]
        centres[t, 1] *= per_degree / of_dense[t, 1]
        moved = (np.float64(y[place]) - np.float64(z[place])) * per_degree
        lifted = (np.float64(tops[1]) - np.float64(tops[0])) * per_degree - moved
        growth = np.log(of_variant[t, 0]) - np.log(of_dense[t, 0]) + lifted
        centres[t, 2] = growth - centres[t, 0]
        fallen = (np.float64(tops[1]) - np.float64(y[place])) * per_degree
        same = np.sqrt(of_dense[t, 1] / of_variant[t, 1])
        centres[t, 3] = np.exp(fallen) if fallen < _KEPT else same

    for low in range(0, n, _TILE):
        dense, variant = z[low : low + _TILE], y[low : low + _TILE]
        for t in range(inverse.shape[0]):
            scale = inverse[t]
            middle = real(centres[t, 0])
            rest = real(centres[t, 0] - middle)
            escort_middle = real(centres[t, 1])
            escort_rest = real(centres[t, 1] - escort_middle)
            grown = zero
            if centres[t, 2] < most:
                grown = real(np.exp(centres[t, 2]) * of_dense[t, 0] / of_variant[t, 0])
            stretch = real(centres[t, 3])
            fallen = (np.float64(tops[1]) - np.float64(y[place])) * np.float64(scale)
            anchored = one if fallen < _KEPT else zero
            first = second = third = fourth = zero
            escort_first = escort_second = zero
            along = turned = gain = jeffreys = reverse = zero
            for i in range(dense.shape[0]):
                shift = real((variant[i] - dense[i]) - start)
                e = exponential((dense[i] - top_z) * scale)
                f = exponential((variant[i] - top_y) * scale)
                x = shift * scale
                near = abs(x) < anchored
                difference = e * (x + bracket(x)) if near else stretch * f - e
                along += e * difference
                turned += difference * difference
                x = (shift * scale - middle) - rest
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
                x = (shift * scale - escort_middle) - escort_rest
                power = e * e * x
                escort_first += power
                escort_second += power * x
            sums[t, 0] += first
            sums[t, 1] += second
            sums[t, 2] += third
            sums[t, 3] += fourth
            sums[t, 4] += escort_first
            sums[t, 5] += escort_second
            sums[t, 6] += along
            sums[t, 7] += turned
            sums[t, 8] += gain
            sums[t, 9] += jeffreys
            sums[t, 10] += reverse


@_compiled  # type: ignore[untyped-decorator]
def _take_rows(
    places: Array, z: Array, inverse: Array, top: Array, place: Array, squares: Array, sums: Array
) -> None:
    """What is known of some rows of z by itself."""
    for row in places:
        top[row], place[row] = _largest(z[row])
        squares[row] = _sum_row(z[row], inverse.dtype.type(top[row]), inverse, sums[row])


@_compiled  # type: ignore[untyped-decorator]
def _take_logits(
    places: Array, z: Array, dense: Array, variant: Array, squares: Array, found: Array
) -> None:
    """`_sum_logits` of some pairs."""
    for k in places:
        found[k, 0] = squares[dense[k]]
        _sum_logits(z[dense[k]], z[variant[k]], found[k])


@_compiled  # type: ignore[untyped-decorator]
def _take_pairs(
    places: Array,
    z: Array,
    dense: Array,
    variant: Array,
    inverse: Array,
    top: Array,
    place: Array,
    rows: Array,
    most: float,
    centres: Array,
    sums: Array,
) -> None:
    """`_sum_pair` of some pairs."""
    for k in places:
        a, b = dense[k], variant[k]
        tops = np.array([top[a], top[b]])
        _sum_pair(z[a], z[b], tops, place[a], inverse, rows[a], rows[b], most, centres[k], sums[k])


class Comparison(NamedTuple):
    """Statistics of pairs; each field of theirs (pairs,) float64, `at` one per temperature."""

    geometry: Geometry
    uniform_shift: UniformShift
    at: list[ProbabilityShift]


def compare(
    z: Tensor, dense: Array, variant: Array, temperatures: Sequence[float], threads: int
) -> Comparison:
    """What `metrics` says of pairs of logits.

    Parameters
    ----------
    z : (rows, vocab) float32 or float64, contiguous, on the CPU.
    dense, variant : (pairs,) rows of z.
    threads : that share the pairs.
    """
    pairs = _Pairs(z.numpy(), dense, variant, threads)
    found = pairs.at(temperatures, z.numpy().dtype)
    logits = pairs.logits()
    still = logits[:, 5] == logits[:, 6]  # one shift for all tokens: p stays, exactly
    shifts = []
    for shift, exact, temperature in zip(*found, temperatures, strict=True):
        again = ~(exact | still)
        if again.any():
            part = _Pairs(pairs.z, dense[again], variant[again], threads)
            ((precise,), _) = part.at([temperature], np.dtype(np.float64))
            for narrow, wide in zip(shift, precise, strict=True):
                narrow[again] = wide
        shifts.append(ProbabilityShift(*map(torch.from_numpy, shift)))
    return Comparison(*_of_logits(logits, pairs.z.shape[1]), shifts)


class _Pairs:
    """Rows of logits and the pairs of them that are summed, on several threads."""

    def __init__(self, z: Array, dense: Array, variant: Array, threads: int) -> None:
        self.z, self.dense, self.variant, self.threads = z, dense, variant, threads
        self._squares = np.empty(len(z))

    def _spread(self, kernel: Callable[..., None], items: Array, *args: Array) -> None:
        """Run a kernel on every thread, each with a part of the items."""
        parts = np.array_split(items, self.threads)
        with ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(lambda part: kernel(part, self.z, *args), parts):
                pass

    def at(
        self, temperatures: Sequence[float], real: np.dtype[Any]
    ) -> tuple[list[list[Array]], list[Array]]:
        """Fields of `ProbabilityShift` at each temperature, and pairs whose numbers hold."""
        inverse = (1 / np.asarray(temperatures, np.float64)).astype(real)
        n_rows, n_pairs, n = len(self.z), len(self.dense), len(temperatures)
        top, place = np.empty(n_rows, self.z.dtype), np.empty(n_rows, np.int64)
        rows = np.zeros((n_rows, n, 2))
        centres, sums = np.zeros((n_pairs, n, 4)), np.zeros((n_pairs, n, 11))
        most = _LARGEST_GROWTH[real.name]
        read = np.unique(np.concatenate([self.dense, self.variant]))
        self._spread(_take_rows, read, inverse, top, place, self._squares, rows)
        pairs = np.arange(n_pairs)
        known = (self.dense, self.variant, inverse, top, place, rows, most, centres, sums)
        self._spread(_take_pairs, pairs, *known)
        start = self.z[self.variant, place[self.dense]].astype(np.float64)
        start -= self.z[self.dense, place[self.dense]]
        of_dense, of_variant = rows[self.dense], rows[self.variant]
        each = [
            _of_tokens(
                sums[:, t],
                centres[:, t],
                of_dense[:, t],
                of_variant[:, t],
                start,
                float(inverse[t]),
                most,
            )
            for t in range(n)
        ]
        return [shift for shift, _ in each], [exact for _, exact in each]

    def logits(self) -> Array:
        """Sums of `_sum_logits`, (pairs, 7); after `at`, which takes the squares."""
        found = np.zeros((len(self.dense), 7))
        known = (self.dense, self.variant, self._squares, found)
        self._spread(_take_logits, np.arange(len(found)), *known)
        return found


def _of_logits(sums: Array, vocabulary: int) -> tuple[Geometry, UniformShift]:
    """Geometry and spread of Δz from `_sum_logits`, (pairs, 7)."""
    squares, along, total, across, spread, least, most = sums.T
    ratio = along / squares
    variant = squares * (1 + ratio) ** 2 + across
    cosine = squares * (1 + ratio) / np.sqrt(squares * variant)
    sine_squared = across / variant
    turn = np.where(cosine > 0, sine_squared / (1 + np.abs(cosine)), 1 - cosine)
    geometry = turn, np.sqrt(across / squares), np.abs(ratio)
    uniform = total / vocabulary, spread / vocabulary, least, most
    return (
        Geometry(*map(torch.from_numpy, geometry)),
        UniformShift(*map(torch.from_numpy, uniform)),
    )


def _of_tokens(
    sums: Array,
    centres: Array,
    of_dense: Array,
    of_variant: Array,
    start: Array,
    degree: float,
    most: float,
) -> tuple[list[Array], Array]:
    """Fields of `ProbabilityShift` from `_sum_pair` at 1/T = `degree`, and where they hold.

    Moments are about a centre that is off by `error`, their own first moment.
    """
    total, squares = of_dense.T
    variant_total, variant_squares = of_variant.T
    centre, _, growth, stretch = centres.T
    error, second, third, fourth = sums[:, :4].T / total
    variance = second - error**2
    skew = third - 3 * error * second + 2 * error**3
    fourth = fourth - 4 * error * third + 6 * error**2 * second - 3 * error**4
    escort_error, escort_second = sums[:, 4:6].T / squares

    along, turned, gain, jeffreys, reverse = sums[:, 6:].T
    scaled = stretch**2 * variant_squares
    cosine = (squares + along) / np.sqrt(squares * scaled)
    sine_squared = (squares * turned - along**2) / (squares * scaled)
    turn = np.maximum(sine_squared, 0) / (1 + cosine)

    far = growth - error, reverse / variant_total - error
    gain, jeffreys = gain / total, jeffreys / total
    grown = 1 + gain + error
    with np.errstate(invalid="ignore", divide="ignore"):  # where the bracket was not summed
        near = np.log1p(gain + error) - error, (jeffreys - error * (gain + error)) / grown
    is_far = (far[0] > _NEAR) & (far[1] - far[0] > _NEAR)
    summed = growth < most
    kl, both = (np.where(is_far, *each) for each in zip(far, near, strict=True))
    exact = (is_far | summed) & (escort_second > _LEAST_SQUARE)
    kl, both = np.where(is_far | summed, kl, far[0]), np.where(is_far | summed, both, far[1])
    shift = [
        turn,
        kl,
        both - kl,
        start + (centre + error) / degree,
        variance / degree**2,
        (escort_second - escort_error**2) / degree**2,
        skew / degree**3,
        (fourth - 3 * variance**2) / degree**4,
    ]
    return shift, exact
