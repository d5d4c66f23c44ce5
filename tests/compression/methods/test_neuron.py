"""Neuron pruning: a smaller MLP that computes what the dense one does without those neurons."""

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


def test_smaller_mlps_equal_dense_with_neurons_silenced(model):
    """Hooks zero the same neurons before down_proj: the same logits from fewer weights."""
    edit, _ = neuron(model, Calibration(IDS), sparsity=0.3)
    variant = loading.apply_edit(model, edit)
    full = f"{anatomy.anatomy_of(model).blocks}.{{}}.{anatomy.anatomy_of(model).mlp_out}.weight"
    handles = []
    for block in range(3):
        weight = model.get_parameter(full.format(block))
        kept = edit.tensors[full.format(block)].zeroed(torch.ones_like(weight))[0]
        assert _down(variant, block).in_features == 28 == int(kept.sum())
        handles.append(
            _down(model, block).register_forward_pre_hook(lambda _, a, kept=kept: (a[0] * kept,))
        )
    torch.testing.assert_close(variant(IDS).logits, model(IDS).logits)
    for handle in handles:
        handle.remove()


def test_the_neurons_that_contribute_least_leave(model):
    """‖x_j‖ ‖W_down[:, j]‖ from hooks: the twelve smallest of forty are gone."""
    edit, report = neuron(model, Calibration(IDS), sparsity=0.3)
    name = anatomy.anatomy_of(model).mlp_out
    for block in range(3):
        before = linear_inputs.before(edit, model, block)
        x = linear_inputs.of_block(model, before, block, IDS)[name]
        full = f"{anatomy.anatomy_of(model).blocks}.{block}.{name}.weight"
        weight = model.get_parameter(full)
        contribution = x.norm(dim=0) * weight.norm(dim=0)
        gone = edit.tensors[full].zeroed(torch.ones_like(weight))[0] == 0
        assert set(gone.nonzero().flatten().tolist()) == set(contribution.argsort()[:12].tolist())
    assert {row["linear"].partition(".")[0] for row in report.to_pylist()} == {"mlp"}


def test_none_of_them():
    """Nothing changes."""
    model = tiny_model("llama")
    edit, _ = neuron(model, Calibration(IDS), sparsity=0.0)
    torch.testing.assert_close(loading.apply_edit(model, edit)(IDS).logits, model(IDS).logits)


def test_all_but_one_may_leave_but_not_all():
    """Of 40 neurons 39 leave at 0.999; an MLP without a neuron is a dropped one, by its name."""
    model = tiny_model("llama")
    edit, _ = neuron(model, Calibration(IDS), sparsity=0.999)
    assert _down(loading.apply_edit(model, edit), 0).in_features == 1
    with pytest.raises(ValueError, match="leaves none of the 40 neurons"):
        neuron(model, Calibration(IDS), sparsity=1.0)


def test_biases_go_with_their_rows():
    """A Llama with MLP biases: gate and up lose the bias of a neuron that leaves."""
    model = tiny_model("llama", mlp_bias=True)
    edit, _ = neuron(model, Calibration(IDS), sparsity=0.5)
    variant = loading.apply_edit(model, edit)
    mlp = variant.model.layers[0].mlp
    assert isinstance(mlp.up_proj, nn.Linear)
    assert mlp.up_proj.bias.shape == mlp.gate_proj.bias.shape == (20,)
    assert mlp.down_proj.bias.shape == (24,)
    assert variant(IDS).logits.isfinite().all()
