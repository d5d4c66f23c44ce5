"""Magnitude pruning removes the smallest weights of each linear, for any inputs."""

import math

import pytest
import torch

import linear_inputs
from prunescope.compression.blockwise import Calibration
from prunescope.compression.methods import load
from prunescope.model import loading
from tiny import tiny_model

IDS = torch.randint(3, 100, (6, 11), generator=torch.Generator().manual_seed(2))
magnitude = load("magnitude")


def test_the_smallest_weights_of_each_linear_are_removed(model):
    """All remaining weights are larger than the removed ones, whose number is exact."""
    edit, report = magnitude(model, Calibration(IDS), sparsity=0.3)
    for _, _, full in linear_inputs.own_linears(model):
        dense = model.get_parameter(full)
        keep = edit.tensors[full].of(dense) != 0
        assert int((~keep).sum()) == math.floor(0.3 * dense.numel() + 1e-9)
        assert dense[keep].abs().min() > dense[~keep].abs().max()
    assert len(report) == len(edit.tensors)


def test_every_group_has_the_pattern():
    model = tiny_model("llama")
    edit, _ = magnitude(model, Calibration(IDS), pattern="2:4")
    for _, _, full in linear_inputs.own_linears(model):
        groups = edit.tensors[full].of(model.get_parameter(full)).unflatten(-1, (-1, 4))
        assert (groups.count_nonzero(-1) == 2).all()


@pytest.mark.parametrize("level", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_pruning_once_more_changes_nothing(level):
    model = tiny_model("llama")
    edit, _ = magnitude(model, Calibration(IDS), **level)
    once = loading.apply_edit(model, edit)
    again, _ = magnitude(once, Calibration(IDS), **level)
    for name, tensor in loading.apply_edit(once, again).state_dict().items():
        assert torch.equal(tensor, once.state_dict()[name]), name


def test_the_edit_does_not_depend_on_the_calibration_text():
    """Only the errors in the report do."""
    model = tiny_model("llama")
    one, _ = magnitude(model, Calibration(IDS), sparsity=0.5)
    other, _ = magnitude(model, Calibration(IDS + 1), sparsity=0.5)
    assert all(torch.equal(one.tensors[n].keep, other.tensors[n].keep) for n in one.tensors)
