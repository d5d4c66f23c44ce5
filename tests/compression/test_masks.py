"""Keep-masks have exact counts, keep the largest weights, and resolve ties reproducibly."""

import math
from fractions import Fraction

import pytest
import torch

from prunescope.compression import masks, patterns

SHAPES = [(7, 24), (3, 5, 24), (1, 1536)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 4), (3, 12), (5, 24), (0, 4), (4, 4)])
def test_n_of_m_keeps_the_largest(shape, n, m, generator):
    """In every group n weights survive, and all of them are larger than the removed ones."""
    importance = torch.rand(shape, generator=generator)
    keep = masks.keep_n_of_m(importance, n, m).unflatten(-1, (-1, m))
    assert (keep.sum(-1) == n).all()
    groups = importance.unflatten(-1, (-1, m))
    smallest_kept = groups.masked_fill(~keep, math.inf).amin(-1)
    largest_removed = groups.masked_fill(keep, -math.inf).amax(-1)
    assert (smallest_kept > largest_removed).all()


@pytest.mark.parametrize("m", [8, 40], ids=["by comparison", "by threshold"])
def test_ties_go_to_the_second_key_then_to_the_first_input(m):
    """Weights of equal importance are ranked by the second key, then by position."""
    equal = torch.ones(3, 40)
    second = torch.arange(40.0).remainder(m).expand(3, 40)
    keep = masks.keep_n_of_m(equal, m // 4, m, then_by=second).unflatten(-1, (-1, m))
    assert keep[..., -m // 4 :].all() and keep.sum() == 3 * 40 // 4
    first = masks.keep_n_of_m(equal, m // 4, m).unflatten(-1, (-1, m))
    assert first[..., : m // 4].all() and first.sum() == 3 * 40 // 4


@pytest.mark.parametrize("m", [8, 40])
def test_both_ways_of_ranking_agree_with_a_sort(m, generator):
    """Most of the values are tied; the expected mask comes from a stable descending sort."""
    importance = torch.randint(0, 4, (50, 40), generator=generator).float()
    groups = importance.unflatten(-1, (-1, m))
    order = groups.sort(dim=-1, descending=True, stable=True).indices[..., : m // 2]
    expected = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order, True).flatten(-2)
    assert torch.equal(masks.keep_n_of_m(importance, m // 2, m), expected)


@pytest.mark.parametrize("size", [1, 10, 100, 576, 1536])
@pytest.mark.parametrize("percent", [0, 1, 10, 29, 30, 50, 57, 70, 99, 100])
def test_number_removed_is_the_floor_of_the_share(size, percent):
    """It is the floor of the exact product; in floats 0.29 * 100 is 28.999999999999996."""
    removed = math.floor(Fraction(percent, 100) * size)
    assert masks.n_kept(size, percent / 100) == size - removed


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, math.nan])
def test_sparsity_outside_zero_to_one_is_refused(sparsity):
    with pytest.raises(ValueError, match="from 0 to 1"):
        masks.n_kept(10, sparsity)


def test_m_must_divide_the_inputs():
    with pytest.raises(ValueError, match="multiple of 7 inputs, but a linear has 576"):
        masks.groups_of(576, None, "3:7")


@pytest.mark.parametrize("both", [(None, None), (0.5, "2:4")])
def test_exactly_one_of_sparsity_and_pattern_is_required(both):
    with pytest.raises(ValueError, match="give one of them"):
        masks.groups_of(576, *both)


@pytest.mark.parametrize("pattern", ["5:4", "2", "2:0", "a:b", "2:4:8", "-1:4"])
def test_invalid_patterns_are_refused(pattern):
    with pytest.raises(ValueError, match="not n:m"):
        patterns.parse(pattern)
