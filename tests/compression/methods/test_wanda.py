"""Wanda's masks equal those of Eq. 1 of its paper, in a separate implementation."""

import pytest
import torch

import linear_inputs
from paper_masks import disagreements
from prunescope.compression.blockwise import Calibration
from prunescope.compression.methods import load
from prunescope.model import anatomy, edits, loading
from smollm2 import model_dir, text_token_ids
from tiny import tiny_model

IDS = torch.randint(3, 100, (6, 11), generator=torch.Generator().manual_seed(2))
LEVELS = [{"sparsity": 0.5}, {"sparsity": 0.37}, {"pattern": "2:4"}, {"pattern": "1:8"}]
wanda = load("wanda")


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_masks_are_those_of_the_paper(model, level):
    """In all linears of all architectures, with inputs from hooks on the partly pruned model."""
    edit, _ = wanda(model, Calibration(IDS), **level)
    differ, total = disagreements(model, edit, IDS, **level)
    assert differ <= total * 1e-4  # near ties differ between float32 and float64


@pytest.mark.parametrize("level", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_masks_are_those_of_the_paper_on_real_weights(level):
    """In the first blocks of SmolLM2, with 16 x 512 tokens of a text, only near ties differ.

    `make bench` compares all blocks.
    """
    model = loading.load(model_dir(), "float32", torch.device("cpu"))
    model.model.layers = model.model.layers[:2]
    model.config.num_hidden_layers = 2
    ids = text_token_ids(16, 512)
    edit, _ = wanda(model, Calibration(ids), **level)
    differ, total = disagreements(model, edit, ids, **level)
    assert differ <= total * 1e-5


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_pruning_once_more_changes_nothing(level):
    """The same weights are removed again, also for inputs that are always zero."""
    model = tiny_model("llama")
    model.model.layers[0].mlp.up_proj.weight[:30] = 0  # most inputs of down_proj are dead
    edit, _ = wanda(model, Calibration(IDS), **level)
    once = loading.apply_edit(model, edit)
    again, _ = wanda(once, Calibration(IDS), **level)
    twice = loading.apply_edit(once, again)
    for name, tensor in once.state_dict().items():
        assert torch.equal(tensor, twice.state_dict()[name]), name


def test_order_of_calibration_sequences_does_not_matter():
    """Sums in another order change no more than near ties."""
    model = tiny_model("qwen3")
    one, _ = wanda(model, Calibration(IDS), sparsity=0.5)
    other, _ = wanda(model, Calibration(IDS.flip(0)), sparsity=0.5)
    bits = [
        (one.tensors[full].of(dense) != other.tensors[full].of(dense)).double().mean()
        for _, _, full in linear_inputs.own_linears(model)
        for dense in [model.get_parameter(full)]
    ]
    assert max(bits) < 1e-3


def test_edit_has_one_bit_per_weight(tmp_path):
    """On disk, it also has names and provenance."""
    model = tiny_model("llama")
    edit, _ = wanda(model, Calibration(IDS), sparsity=0.5)
    edits.write(tmp_path / "edit.safetensors", edit, {})
    weights = sum(
        parameter.numel()
        for block in anatomy.blocks_of(model)
        for name, parameter in block.named_parameters()
        if "proj" in name
    )
    stored = sum(replacement.keep.nbytes for replacement in edit.tensors.values())
    assert stored == weights // 8
    assert (tmp_path / "edit.safetensors").stat().st_size < stored + 200 * len(edit.tensors)
