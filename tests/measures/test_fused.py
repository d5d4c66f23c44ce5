"""Compiled statistics of pairs equal the metrics in float64."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from numba import njit

from prunescope.measures import fused, kernels, metrics
from prunescope.model import unembedding
from prunescope.paths import SCRIPTS

TEMPERATURES = [0.3, 1.0, 1.5]


def _compared(z, delta_z, temperatures=TEMPERATURES, threads=1):
    """Statistics of the pairs (z, z + delta_z), and their z and rounded shift in float64."""
    both = torch.cat([z, z + delta_z])
    rows = np.arange(len(z))
    statistics = fused.compare(both, rows, rows + len(z), temperatures, threads)
    wide = both.double()
    return statistics, wide[: len(z)], wide[len(z) :] - wide[: len(z)]


def _assert_close(fields, expected, rtol, floor=0.0):
    for name, value in expected._asdict().items():
        torch.testing.assert_close(
            getattr(fields, name), value, rtol=rtol, atol=floor, msg=lambda m, name=name: name + m
        )


def _shift_in_float64(z, delta_z, temperature):
    p = unembedding.probabilities(z, temperature)
    q = unembedding.probabilities(z + delta_z, temperature)
    return metrics.probability_shift(z, delta_z, p, q, temperature)


@pytest.mark.parametrize("scale", [1e-4, 0.05, 1.0, 5.0, 60.0])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-4), (torch.float64, 1e-8)])
def test_statistics_equal_their_definitions(generator, scale, dtype, rtol):
    """For shifts from the size of rounding errors to hundreds of logits, at all temperatures."""
    z = (4 * torch.randn(12, 5000, generator=generator)).to(dtype)
    delta_z = (scale * torch.randn(12, 5000, generator=generator)).to(dtype)
    compared, z, delta_z = _compared(z, delta_z)
    _assert_close(compared.geometry, metrics.geometry(z, delta_z), 2e-5)
    _assert_close(compared.uniform_shift, metrics.uniform_shift(delta_z), 1e-5, floor=1e-7 * scale)
    for t, temperature in enumerate(TEMPERATURES):
        expected = _shift_in_float64(z, delta_z, temperature)
        shift = metrics.ProbabilityShift(*(field[:, t] for field in compared.probability_shift))
        # A cumulant is a difference, whose error is compared with its terms.
        spread = expected.var_p.sqrt()
        for name, power in (("mean_p", 1), ("cumulant_3", 3), ("cumulant_4", 4)):
            error = getattr(shift, name) - getattr(expected, name)
            size = spread**power + getattr(expected, name).abs()
            assert (error.abs() <= 10 * rtol * size).all(), name
        exact = {"mean_p", "cumulant_3", "cumulant_4"}
        for name, value in expected._asdict().items():
            if name not in exact:
                torch.testing.assert_close(getattr(shift, name), value, rtol=rtol, atol=1e-30)


def test_saturated_rows_are_precise(generator):
    """One token has nearly all the probability, and KL is from 1e-40 to 1000, in float32."""
    z = 40 * torch.randn(64, 5000, generator=generator)
    delta_z = torch.logspace(-3, 2, 64)[:, None] * torch.randn(64, 5000, generator=generator)
    compared, z, delta_z = _compared(z, delta_z)
    for t, temperature in enumerate(TEMPERATURES):
        expected = _shift_in_float64(z, delta_z, temperature)
        assert expected.kl_divergence.min() < 1e-15
        for name in ("kl_divergence", "var_p", "var_escort", "angular_deviation"):
            value = getattr(compared.probability_shift, name)[:, t]
            torch.testing.assert_close(value, getattr(expected, name), rtol=1e-4, atol=1e-60)


def test_a_common_shift_changes_only_the_mean(generator):
    """Adding 100 to all logits changes no other statistic, except for rounding."""
    z = 3 * torch.randn(6, 3000, generator=generator, dtype=torch.float64)
    delta_z = 0.1 * torch.randn(6, 3000, generator=generator, dtype=torch.float64)
    (plain, *_), (shifted, *_) = _compared(z, delta_z), _compared(z, delta_z + 100)
    for name, value in plain.probability_shift._asdict().items():
        other = getattr(shifted.probability_shift, name) - (100 if name == "mean_p" else 0)
        torch.testing.assert_close(other, value, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("growth", [20.0, 50.0, 90.0])
def test_tokens_whose_probability_underflows_contribute_to_kl(growth):
    """p = e^-95 is 0 in float32, but KL = log1p(p (e^Y - 1 - Y)) comes from this token alone."""
    z, delta_z = torch.zeros(1, 8), torch.zeros(1, 8)
    z[0, 1:], delta_z[0, 1] = -95.0, growth
    compared, *_ = _compared(z, delta_z, [1.0])
    expected = np.log1p(np.exp(-95.0) * (np.expm1(growth) - growth))
    assert float(compared.probability_shift.kl_divergence) == pytest.approx(expected, rel=1e-4)


def test_no_shift_is_exactly_zero(generator):
    """All deviations and moments of a pair of equal rows are 0, and not 1e-17."""
    z = 9 * torch.randn(3, 1000, generator=generator)
    compared, *_ = _compared(z, torch.zeros_like(z))
    for statistics in compared:
        for name, value in statistics._asdict().items():
            assert not value.any(), name


def test_results_do_not_depend_on_threads_or_other_pairs(generator):
    """A pair is summed by a single thread, so that its results are bit for bit the same."""
    z = 5 * torch.randn(9, 4097, generator=generator)
    dense, variant = np.arange(8), np.arange(8) + 1
    one_thread = fused.compare(z, dense, variant, TEMPERATURES, 1)
    three_threads = fused.compare(z, dense, variant, TEMPERATURES, 3)
    reverse_order = fused.compare(z, dense[::-1], variant[::-1], TEMPERATURES, 2)
    for one, three, reverse in zip(one_thread, three_threads, reverse_order, strict=True):
        for value, same, reversed_value in zip(one, three, reverse, strict=True):
            assert torch.equal(value, same)
            assert torch.equal(value, reversed_value.flip(0))


@njit
def _tabulate(function, x, out):
    for i in range(len(x)):
        out[i] = function(x[i])


@njit
def _exponential(x):
    return kernels.exponential(x)


@njit
def _bracket(x):
    return kernels.bracket(x)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 2e-7), (np.float64, 1e-15)])
def test_exponentials_equal_those_with_fifty_digits(dtype, rtol):
    """e^x down to the smallest normal number, zero below it, and e^y - 1 - y from 1e-12 to 1."""
    least = -87.3 if dtype == np.float32 else -708.3
    x = np.linspace(least + 0.01, 0, 301).astype(dtype)
    y = np.concatenate([-np.logspace(-6, 0, 60), np.logspace(-6, 0, 60)]).astype(dtype)
    with mpmath.workdps(50):
        for function, at, exact in (
            (_exponential, x, mpmath.exp),
            (_bracket, y, lambda value: mpmath.exp(value) - 1 - value),
        ):
            out = np.empty_like(at)
            _tabulate(function, at, out)
            for value, computed in zip(at, out, strict=True):
                assert float(computed / exact(mpmath.mpf(float(value))) - 1) == pytest.approx(
                    0, abs=2 * rtol
                )
    below = np.empty(2, dtype)
    _tabulate(_exponential, np.array([2 * least, 1e3 * least], dtype), below)
    assert not below.any()


_PRINT_STATISTICS = """
import sys
import numpy as np, torch
from prunescope.measures import fused, kernels

def compare(dtype):
    generator = torch.Generator().manual_seed(0)
    z = (5 * torch.randn(6, 9001, generator=generator)).to(dtype)
    z[2, 0] = 250  # saturated, therefore summed again in float64
    z[3:5] = z[2] + 1e-3 * torch.randn(2, 9001, generator=generator).to(dtype)
    rows = np.arange(5)
    return [
        value.numpy().tobytes().hex()
        for threads in (1, 2)
        for statistics in fused.compare(z, rows, rows + 1, [0.3, 1.0, 1.5], threads)
        for value in statistics
    ]

dtypes = {"single": torch.float32, "double": torch.float64}
statistics = {name: compare(dtypes[name]) for name in sys.argv[1:]}
kernel = kernels.sum_moments
print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
print({name: statistics[name] for name in dtypes})
"""


def _in_a_process(cache, *dtypes):
    """Cache hits and misses of a kernel, and the bytes of all statistics, from a new process."""
    scripts = str(SCRIPTS)
    run = subprocess.run(
        [sys.executable, "-c", _PRINT_STATISTICS, *dtypes],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": scripts},
        capture_output=True,
        text=True,
        check=True,
    )
    cached, statistics = run.stdout.splitlines()
    return [int(count) for count in cached.split()], statistics


def test_compiled_and_cached_kernels_give_equal_bytes(tmp_path):
    """In processes that find no cache, a whole one, and a part of one."""
    (hits, misses), compiled = _in_a_process(tmp_path, "single", "double")
    assert (hits, misses) == (0, 3)  # some pairs are summed again in float64
    (hits, misses), loaded = _in_a_process(tmp_path, "single", "double")
    assert (hits, misses) == (3, 0)
    assert loaded == compiled
    for file in tmp_path.rglob("kernels.sum_rows*"):
        file.unlink()
    assert _in_a_process(tmp_path, "double", "single")[1] == compiled


def test_all_helpers_are_inlined():
    """A helper that is also compiled by itself would have two machine codes with other sums."""
    compiled = {name: value for name, value in vars(kernels).items() if hasattr(value, "py_func")}
    cached = {name for name, value in compiled.items() if value.targetoptions.get("cache")}
    called = set(re.findall(r"kernels\.(sum_\w+)", Path(fused.__file__).read_text()))
    assert {name for name in compiled if not name.startswith("_")} == called
    inlined = {name for name, value in compiled.items() if value.targetoptions.get("forceinline")}
    assert inlined == set(compiled) - called
    assert not cached & inlined
