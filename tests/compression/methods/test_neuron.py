"""Neuron pruning gives smaller MLPs that equal the dense ones without the removed neurons."""

import pytest
import torch
from torch import nn

import linear_inputs
from prunescope.compression.blockwise import Calibration
from prunescope.compression.methods import load
from prunescope.model import anatomy, loading
from tiny import tiny_model

IDS = torch.randint(3, 100, (6, 11), generator=torch.Generator().manual_seed(2))
neuron = load("neuron")


def _down(model, block):
    return anatomy.blocks_of(model)[block].get_submodule(anatomy.anatomy_of(model).mlp_out)


def test_smaller_mlps_equal_dense_ones_without_the_removed_neurons(model):
    """The logits are those of the dense model with the same neurons set to zero by hooks."""
    edit, _ = neuron(model, Calibration(IDS), sparsity=0.3)
    variant = loading.apply_edit(model, edit)
    full = f"{anatomy.anatomy_of(model).blocks}.{{}}.{anatomy.anatomy_of(model).mlp_out}.weight"
    handles = []
    for block in range(3):
        weight = model.get_parameter(full.format(block))
        keep = edit.tensors[full.format(block)].zeroed(torch.ones_like(weight))[0]
        assert _down(variant, block).in_features == 28 == int(keep.sum())
        handles.append(
            _down(model, block).register_forward_pre_hook(lambda _, a, keep=keep: (a[0] * keep,))
        )
    torch.testing.assert_close(variant(IDS).logits, model(IDS).logits)
    for handle in handles:
        handle.remove()


def test_the_neurons_with_the_least_contribution_are_removed(model):
    """They are the twelve of forty with the least ‖x_j‖ ‖W_down[:, j]‖, from inputs of hooks."""
    edit, report = neuron(model, Calibration(IDS), sparsity=0.3)
    name = anatomy.anatomy_of(model).mlp_out
    for block in range(3):
        before = linear_inputs.before(edit, model, block)
        x = linear_inputs.of_block(model, before, block, IDS)[name]
        full = f"{anatomy.anatomy_of(model).blocks}.{block}.{name}.weight"
        weight = model.get_parameter(full)
        contribution = x.norm(dim=0) * weight.norm(dim=0)
        removed = edit.tensors[full].zeroed(torch.ones_like(weight))[0] == 0
        assert set(removed.nonzero().flatten().tolist()) == set(
            contribution.argsort()[:12].tolist()
        )
    assert {row["linear"].partition(".")[0] for row in report.to_pylist()} == {"mlp"}


def test_a_sparsity_of_zero_changes_nothing():
    """The logits are those of the dense model."""
    model = tiny_model("llama")
    edit, _ = neuron(model, Calibration(IDS), sparsity=0.0)
    torch.testing.assert_close(loading.apply_edit(model, edit)(IDS).logits, model(IDS).logits)


def test_at_least_one_neuron_must_remain():
    """39 of 40 neurons may be removed; dropping the whole MLP is another method."""
    model = tiny_model("llama")
    edit, _ = neuron(model, Calibration(IDS), sparsity=0.999)
    assert _down(loading.apply_edit(model, edit), 0).in_features == 1
    with pytest.raises(ValueError, match="leaves none of the 40 neurons"):
        neuron(model, Calibration(IDS), sparsity=1.0)


def test_biases_of_removed_neurons_are_removed():
    """In a Llama with MLP biases, those of gate and up get shorter."""
    model = tiny_model("llama", mlp_bias=True)
    edit, _ = neuron(model, Calibration(IDS), sparsity=0.5)
    variant = loading.apply_edit(model, edit)
    mlp = variant.model.layers[0].mlp
    assert isinstance(mlp.up_proj, nn.Linear)
    assert mlp.up_proj.bias.shape == mlp.gate_proj.bias.shape == (20,)
    assert mlp.down_proj.bias.shape == (24,)
    assert variant(IDS).logits.isfinite().all()
