"""Quantization to integers: errors within half a step, and the algebra of the grid."""

import math

import pytest
import torch

from prunescope.compression import quantization

BITS = range(2, 9)
SHAPE, GROUP_SIZE = (48, 64), 16


def weights(kind, generator):
    """(48, 64) float32 weights of several kinds, as real ones may be."""
    weight = torch.randn(SHAPE, generator=generator)
    return {
        "normal": weight,
        "one outlier a row": weight + 50 * torch.eye(*SHAPE),
        "positive": weight.abs() + 3,
        "negative": -weight.abs() - 3,
        "tiny": weight * 1e-7,
        "huge": weight * 1e7,
        "nearly equal": 1 + weight * 1e-6,
        "with zero groups": weight * (torch.arange(64) // GROUP_SIZE % 2),
        "all equal": torch.full(SHAPE, -0.3),
        "zero": torch.zeros(SHAPE),
    }[kind]


KINDS = (
    "normal",
    "one outlier a row",
    "positive",
    "negative",
    "tiny",
    "huge",
    "nearly equal",
    "with zero groups",
    "all equal",
    "zero",
)


def rounded(weight, bits, group_size=GROUP_SIZE, shrink=1.0):
    """Codes, grid and the values they stand for."""
    grid = quantization.min_max_grid(weight, bits, group_size, shrink)
    codes = quantization.codes_of(weight, grid, bits)
    return codes, grid, quantization.dequantized(codes, grid)


def of_each_weight(per_group):
    """(out, groups) -> (out, in) float64."""
    return per_group.double().repeat_interleave(GROUP_SIZE, dim=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_no_weight_moves_by_more_than_half_a_step(bits, kind, generator):
    """Least and largest of a group included; codes and zero points are `bits`-wide integers."""
    weight = weights(kind, generator)
    codes, grid, values = rounded(weight, bits)
    step = of_each_weight(grid.scales)
    assert ((values.double() - weight.double()).abs() <= step * (0.5 + 1e-4)).all()
    for integers in (codes, grid.zero_points.float()):
        assert torch.equal(integers, integers.round())
        assert integers.min() >= 0
        assert integers.max() <= 2**bits - 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_steps_are_no_wider_than_the_range_asks(bits, kind, generator):
    """(max - min) / (2^bits - 1) of a range with zero in it, and at most the scale's last bit."""
    groups = weights(kind, generator).double().unflatten(1, (-1, GROUP_SIZE))
    zero = torch.zeros(())
    span = groups.amax(-1).maximum(zero) - groups.amin(-1).minimum(zero)
    grid = quantization.min_max_grid(groups.flatten(1).float(), bits, GROUP_SIZE)
    ratio = grid.scales.double() * (2**bits - 1) / span
    last_bit = 2**-10 if grid.scales.dtype == torch.float16 else 2**-22
    assert (ratio[span > 0] >= 1 - 2**-22).all()
    assert (ratio[span > 0] <= 1 + last_bit).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_zero_stays_zero(bits, kind, generator):
    """In every group, wherever its other weights lie."""
    weight = weights(kind, generator)
    weight[:, ::3] = 0
    _, _, values = rounded(weight, bits)
    assert (values[:, ::3] == 0).all()


@pytest.mark.parametrize("level", [0.7, -0.7, 0.0, 2.0**-30, -(2.0**20)])
@pytest.mark.parametrize("bits", BITS)
def test_a_constant_group_comes_out_right(bits, level):
    """Nothing but the rounding of its scale."""
    _, _, values = rounded(torch.full((3, GROUP_SIZE), level), bits)
    assert values.double().numpy() == pytest.approx(level, rel=2**-10)


@pytest.mark.parametrize("bits", BITS)
def test_codes_are_the_nearest_of_all(bits, generator):
    """Tried one by one, in float64, no other code comes closer."""
    weight = weights("normal", generator)
    _, grid, values = rounded(weight, bits)
    error = (values.double() - weight.double()).abs()
    for code in range(2**bits):
        other = (code - of_each_weight(grid.zero_points)) * of_each_weight(grid.scales)
        assert (error <= (other - weight.double()).abs() + 1e-6).all()


@pytest.mark.parametrize("bits", BITS)
def test_rounding_twice_changes_nothing(bits, generator):
    """Groups whose codes reach both ends keep grid and codes; the others move by half a step."""
    codes, grid, values = rounded(weights("normal", generator), bits)
    again, regrid, twice = rounded(values, bits)
    extremes = codes.unflatten(1, (-1, GROUP_SIZE))
    full = extremes.amax(-1) - extremes.amin(-1) == 2**bits - 1
    assert full.double().mean() > 0.9
    assert torch.equal(regrid.scales[full], grid.scales[full])
    assert torch.equal(regrid.zero_points[full], grid.zero_points[full])
    each = of_each_weight(full).bool()
    assert torch.equal(again[each], codes[each])
    assert ((twice - values).abs() <= of_each_weight(grid.scales) * 0.5001).all()


@pytest.mark.parametrize("exponent", [-6, -1, 3, 10])
def test_a_row_times_a_power_of_two_rounds_alike(exponent, generator):
    """Exactly, and its neighbours stay as they were."""
    weight = weights("normal", generator)
    factors = torch.ones(48, 1)
    factors[::2] = 2.0**exponent
    codes, grid, values = rounded(weight, 4)
    scaled_codes, scaled_grid, scaled = rounded(weight * factors, 4)
    assert torch.equal(scaled_codes, codes)
    assert torch.equal(scaled_grid.scales.float(), grid.scales * factors)
    assert torch.equal(scaled, values * factors)


@pytest.mark.parametrize("exponent", [-20, 20])
def test_scales_out_of_float16s_reach_are_float32(exponent, generator):
    """For the whole tensor, though one row alone asks for it; none becomes zero or infinite."""
    weight = weights("normal", generator)
    assert quantization.min_max_grid(weight, 4, GROUP_SIZE).scales.dtype == torch.float16
    weight[7] *= 2.0**exponent
    _, grid, values = rounded(weight, 4)
    assert grid.scales.dtype == torch.float32
    assert ((values - weight).abs() <= of_each_weight(grid.scales) * (0.5 + 1e-4)).all()
    assert values[7].count_nonzero() > 32


def test_rows_and_groups_know_nothing_of_each_other(generator):
    """Permuted rows and permuted groups come out permuted."""
    weight = weights("normal", generator)
    rows = torch.randperm(48, generator=generator)
    columns = (
        torch.randperm(4, generator=generator).unsqueeze(1) * 16 + torch.arange(16)
    ).flatten()
    _, _, values = rounded(weight, 4)
    _, _, permuted = rounded(weight[rows][:, columns], 4)
    assert torch.equal(permuted, values[rows][:, columns])


@pytest.mark.parametrize("shrink", [0.9, 0.5])
def test_a_narrower_range_has_smaller_steps_and_cuts_off(shrink, generator):
    """Inside it half a step holds; outside, the weight comes to its end."""
    weight = weights("normal", generator)
    _, grid, values = rounded(weight, 4, shrink=shrink)
    step = of_each_weight(grid.scales)
    groups = weight.double().unflatten(1, (-1, GROUP_SIZE))
    low = of_each_weight(groups.amin(-1) * shrink)
    high = of_each_weight(groups.amax(-1) * shrink)
    clipped = weight.double().clamp(low, high)
    assert ((values - clipped).abs() <= step * (0.5 + 15 * 2**-10)).all()  # a scale is rounded up
    assert ((values - weight).abs() > step).any()


@pytest.mark.parametrize("shape", [(5, 24), (3, 5, 24)], ids=str)
def test_output_error_is_that_of_the_outputs(shape, generator):
    """|δ X|² summed over tokens, from outputs in float64."""
    delta = torch.randn(shape, generator=generator, dtype=torch.float64)
    x = torch.randn(100, 24, generator=generator, dtype=torch.float64)
    outputs = x @ delta.mT
    errors = quantization.output_error(delta, x.T @ x)
    torch.testing.assert_close(errors, outputs.square().sum(-2), rtol=1e-12, atol=0)
    trace = torch.einsum("...ij,jk,...ik->...", delta, x.T @ x, delta)
    torch.testing.assert_close(errors.sum(-1), trace, rtol=1e-12, atol=0)


@pytest.mark.parametrize("in_features", [576, 1536])
def test_group_size_that_divides_is_suggested(in_features):
    """128 does not divide SmolLM2's 576 inputs; 64 does."""
    quantization.check(in_features, 4, 64)
    with pytest.raises(ValueError, match=f"does not divide the {in_features} inputs"):
        quantization.check(in_features, 4, 127)
    suggested = math.gcd(in_features, 1024)
    with pytest.raises(ValueError, match=f"largest power of two that does is {suggested}"):
        quantization.check(in_features, 4, 0)


@pytest.mark.parametrize("bits", [1, 9, 16])
def test_widths_that_are_not_packed_are_refused(bits):
    """From 2 to 8."""
    with pytest.raises(ValueError, match=f"bits is {bits}"):
        quantization.check(576, bits, 64)
