"""Quantization errors are at most half a step, and grids have the expected symmetries."""

import math

import pytest
import torch

from prunescope.compression import quantization

BITS = range(2, 9)
SHAPE, GROUP_SIZE = (48, 64), 16


def weights(kind, generator):
    """Weights of several kinds that occur in real models, (48, 64) float32."""
    weight = torch.randn(SHAPE, generator=generator)
    return {
        "normal": weight,
        "one outlier per row": weight + 50 * torch.eye(*SHAPE),
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
    "one outlier per row",
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
    """Codes, grid and dequantized weights."""
    grid = quantization.min_max_grid(weight, bits, group_size, shrink)
    codes = quantization.codes_of(weight, grid, bits)
    return codes, grid, quantization.dequantized(codes, grid)


def per_weight(per_group):
    """Repeat the values of groups for their weights, (out, groups) -> (out, in) float64."""
    return per_group.double().repeat_interleave(GROUP_SIZE, dim=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_no_weight_moves_by_more_than_half_a_step(bits, kind, generator):
    """Not even the smallest and the largest of a group; codes are integers of `bits` bits."""
    weight = weights(kind, generator)
    codes, grid, values = rounded(weight, bits)
    step = per_weight(grid.scales)
    assert ((values.double() - weight.double()).abs() <= step * (0.5 + 1e-4)).all()
    for integers in (codes, grid.zero_points.float()):
        assert torch.equal(integers, integers.round())
        assert integers.min() >= 0
        assert integers.max() <= 2**bits - 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_steps_are_no_wider_than_the_range_requires(bits, kind, generator):
    """The scale is (max - min) / (2^bits - 1), rounded up, for a range that includes zero."""
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
    """In every group, for any other weights."""
    weight = weights(kind, generator)
    weight[:, ::3] = 0
    _, _, values = rounded(weight, bits)
    assert (values[:, ::3] == 0).all()


@pytest.mark.parametrize("level", [0.7, -0.7, 0.0, 2.0**-30, -(2.0**20)])
@pytest.mark.parametrize("bits", BITS)
def test_a_constant_group_is_reproduced(bits, level):
    """Its only error is the rounding of the scale."""
    _, _, values = rounded(torch.full((3, GROUP_SIZE), level), bits)
    assert values.double().numpy() == pytest.approx(level, rel=2**-10)


@pytest.mark.parametrize("bits", BITS)
def test_codes_are_those_of_the_nearest_values(bits, generator):
    """In float64, no other code gives a value closer to the weight."""
    weight = weights("normal", generator)
    _, grid, values = rounded(weight, bits)
    error = (values.double() - weight.double()).abs()
    for code in range(2**bits):
        other = (code - per_weight(grid.zero_points)) * per_weight(grid.scales)
        assert (error <= (other - weight.double()).abs() + 1e-6).all()


@pytest.mark.parametrize("bits", BITS)
def test_rounding_twice_changes_nothing(bits, generator):
    """Groups that use the smallest and the largest code keep their grid and codes.

    Other weights move by at most half a step.
    """
    codes, grid, values = rounded(weights("normal", generator), bits)
    again, regrid, twice = rounded(values, bits)
    extremes = codes.unflatten(1, (-1, GROUP_SIZE))
    full = extremes.amax(-1) - extremes.amin(-1) == 2**bits - 1
    assert full.double().mean() > 0.9
    assert torch.equal(regrid.scales[full], grid.scales[full])
    assert torch.equal(regrid.zero_points[full], grid.zero_points[full])
    each = per_weight(full).bool()
    assert torch.equal(again[each], codes[each])
    assert ((twice - values).abs() <= per_weight(grid.scales) * 0.5001).all()


@pytest.mark.parametrize("exponent", [-6, -1, 3, 10])
def test_a_row_times_a_power_of_two_keeps_its_codes(exponent, generator):
    """Its scales are multiplied exactly, and other rows do not change."""
    weight = weights("normal", generator)
    factors = torch.ones(48, 1)
    factors[::2] = 2.0**exponent
    codes, grid, values = rounded(weight, 4)
    scaled_codes, scaled_grid, scaled = rounded(weight * factors, 4)
    assert torch.equal(scaled_codes, codes)
    assert torch.equal(scaled_grid.scales.float(), grid.scales * factors)
    assert torch.equal(scaled, values * factors)


@pytest.mark.parametrize("exponent", [-20, 20])
def test_scales_outside_the_range_of_float16_are_float32(exponent, generator):
    """One such row makes the scales of the whole tensor float32; none becomes zero or infinite."""
    weight = weights("normal", generator)
    assert quantization.min_max_grid(weight, 4, GROUP_SIZE).scales.dtype == torch.float16
    weight[7] *= 2.0**exponent
    _, grid, values = rounded(weight, 4)
    assert grid.scales.dtype == torch.float32
    assert ((values - weight).abs() <= per_weight(grid.scales) * (0.5 + 1e-4)).all()
    assert values[7].count_nonzero() > 32


def test_rows_and_groups_are_independent(generator):
    """Permuted rows and groups give the permuted result."""
    weight = weights("normal", generator)
    rows = torch.randperm(48, generator=generator)
    columns = (
        torch.randperm(4, generator=generator).unsqueeze(1) * 16 + torch.arange(16)
    ).flatten()
    _, _, values = rounded(weight, 4)
    _, _, permuted = rounded(weight[rows][:, columns], 4)
    assert torch.equal(permuted, values[rows][:, columns])


@pytest.mark.parametrize("shrink", [0.9, 0.5])
def test_a_narrower_range_clips_weights(shrink, generator):
    """Weights inside it move by at most half a smaller step; others move to its end."""
    weight = weights("normal", generator)
    _, grid, values = rounded(weight, 4, shrink=shrink)
    step = per_weight(grid.scales)
    groups = weight.double().unflatten(1, (-1, GROUP_SIZE))
    low = per_weight(groups.amin(-1) * shrink)
    high = per_weight(groups.amax(-1) * shrink)
    clipped = weight.double().clamp(low, high)
    assert ((values - clipped).abs() <= step * (0.5 + 15 * 2**-10)).all()  # a scale is rounded up
    assert ((values - weight).abs() > step).any()


@pytest.mark.parametrize("shape", [(5, 24), (3, 5, 24)], ids=str)
def test_output_error_is_the_squared_change_of_outputs(shape, generator):
    """It equals the sum of |δ X|² over tokens, from outputs in float64."""
    delta = torch.randn(shape, generator=generator, dtype=torch.float64)
    x = torch.randn(100, 24, generator=generator, dtype=torch.float64)
    outputs = x @ delta.mT
    errors = quantization.output_error(delta, x.T @ x)
    torch.testing.assert_close(errors, outputs.square().sum(-2), rtol=1e-12, atol=0)
    trace = torch.einsum("...ij,jk,...ik->...", delta, x.T @ x, delta)
    torch.testing.assert_close(errors.sum(-1), trace, rtol=1e-12, atol=0)


@pytest.mark.parametrize("in_features", [576, 1536])
def test_a_group_size_that_divides_is_suggested(in_features):
    """64 divides the 576 inputs of SmolLM2, but 128 does not."""
    quantization.check(in_features, 4, 64)
    with pytest.raises(ValueError, match=f"does not divide the {in_features} inputs"):
        quantization.check(in_features, 4, 127)
    suggested = math.gcd(in_features, 1024)
    with pytest.raises(ValueError, match=f"largest power of two that does is {suggested}"):
        quantization.check(in_features, 4, 0)


@pytest.mark.parametrize("bits", [1, 9, 16])
def test_unsupported_numbers_of_bits_are_refused(bits):
    """Supported are 2 to 8 bits."""
    with pytest.raises(ValueError, match=f"bits is {bits}"):
        quantization.check(576, bits, 64)
