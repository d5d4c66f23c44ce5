"""Rounding to nearest gives every weight its nearest value, for any calibration text."""

import itertools
import math

import pytest
import torch

import linear_inputs
from prunescope.compression.blockwise import Calibration
from prunescope.compression.methods import load
from prunescope.model import edits, loading, replacements
from smollm2 import model_dir
from tiny import tiny_model

IDS = torch.randint(3, 100, (4, 16), generator=torch.Generator().manual_seed(2))
rtn = load("rtn")


def errors_by_linear(report):
    """(block, linear) -> relative output error."""
    rows = report.to_pylist()
    return {(row["block"], row["linear"]): row["relative_output_error"] for row in rows}


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_no_weight_moves_by_more_than_half_a_step(model, bits):
    """A step is that of the range of its group with zero, in all linears of all architectures."""
    edit, _ = rtn(model, Calibration(IDS), bits=bits, group_size=8)
    for _, _, name in linear_inputs.own_linears(model):
        dense = model.get_parameter(name)
        groups = dense.unflatten(-1, (-1, 8))
        zero = torch.zeros((), dtype=dense.dtype)
        span = groups.amax(-1).maximum(zero) - groups.amin(-1).minimum(zero)
        step = span / (2**bits - 1) * (1 + 2**-10)  # a float16 scale
        moved = (edit.tensors[name].of(dense) - dense).unflatten(-1, (-1, 8)).abs()
        assert (moved <= step.unsqueeze(-1) * (0.5 + 1e-4)).all(), name


def test_the_edit_does_not_depend_on_the_calibration_text():
    """It is bit for bit the same for other tokens."""
    model = tiny_model("llama")
    one, _ = rtn(model, Calibration(IDS), bits=4, group_size=8)
    other, _ = rtn(model, Calibration(IDS.flip(0) + 1), bits=4, group_size=8)
    for name, replacement in one.tensors.items():
        fields = replacements.as_tensors(other.tensors[name])
        for field, tensor in replacements.as_tensors(replacement).items():
            assert torch.equal(tensor, fields[field]), (name, field)


def test_one_more_bit_halves_the_error():
    """The error is approximately proportional to the step."""
    model = tiny_model("qwen3")
    errors = []
    for bits in range(2, 9):
        _, report = rtn(model, Calibration(IDS), bits=bits, group_size=8)
        errors_of_linears = errors_by_linear(report).values()
        errors.append(sum(errors_of_linears) / len(errors_of_linears))
    for bits, (wide, narrow) in enumerate(itertools.pairwise(errors), 2):
        assert wide / narrow == pytest.approx((2 ** (bits + 1) - 1) / (2**bits - 1), rel=0.2)


@pytest.mark.parametrize("method", ["rtn", "awq"])
@pytest.mark.parametrize("level", [{"bits": 4, "group_size": 16}, {"bits": 1, "group_size": 8}])
def test_settings_that_do_not_fit_are_refused(method, level):
    """16 does not divide the 24 inputs of q_proj, and one bit is not enough."""
    with pytest.raises(ValueError, match=r"divide the 24 inputs|bits is 1"):
        load(method)(tiny_model("llama"), Calibration(IDS), **level)


@pytest.mark.parametrize("method", ["rtn", "awq"])
def test_a_group_size_must_divide_every_width(method):
    """12 divides d = 24, but not d_ff = 40, the number of inputs of down_proj."""
    with pytest.raises(ValueError, match=r"divide the 40 inputs of a linear.* is 8"):
        load(method)(tiny_model("llama"), Calibration(IDS), bits=4, group_size=12)


@pytest.mark.parametrize("bits", [3, 4])
def test_edit_on_disk_is_near_its_information_content(bits, tmp_path):
    """For SmolLM2 it has the bits of each weight, and a scale and zero point per group."""
    model = loading.load(model_dir(), "float32", torch.device("cpu"))
    model.model.layers = model.model.layers[:1]
    edit, _ = rtn(model, Calibration(IDS), bits=bits, group_size=64)
    edits.write(tmp_path / "edit.safetensors", edit, {})
    n_weights = sum(math.prod(model.get_parameter(name).shape) for name in edit.tensors)
    content = n_weights * (bits + (16 + bits) / 64) / 8
    assert (tmp_path / "edit.safetensors").stat().st_size == pytest.approx(content, rel=0.01)
