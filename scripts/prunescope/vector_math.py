"""Exponentials that a loop compiled by numba can vectorise: libm's cannot be.

Each function takes a float32 or float64 and computes in its own precision. The polynomials are
plain Taylor series on an interval so short that the first term left out is below rounding.
"""

from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

_EXACT = {"fastmath": {"contract"}}
"""Sums are taken as written, whatever the caller allows: adding a constant rounds to whole."""

_FORMAT = {types.float32: (23, 127), types.float64: (52, 1023)}
"""Binary digits after the point, and the bias of the exponent (IEEE 754)."""


@intrinsic  # type: ignore[untyped-decorator]
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


@overload(exponential, jit_options=_EXACT)  # type: ignore[untyped-decorator]
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
        return total * _power_of_two(rounded) if x > least else zero

    return run


# The series is short enough to be unrolled; b(2u) = (u + b(u))² + 2 b(u) leads back to y.


@overload(bracket, jit_options=_EXACT)  # type: ignore[untyped-decorator]
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
