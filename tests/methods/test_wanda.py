"""Wanda's masks equal what the paper's Eq. 1 says, written down once more."""

import pytest
import torch

import linear_inputs
from paper_masks import paper_mask
from prunescope import anatomy, edits, models
from prunescope.blockwise import Calibration
from prunescope.methods import load
from smollm2 import model_dir
from tiny import tiny_model

IDS = torch.randint(3, 100, (6, 11), generator=torch.Generator().manual_seed(2))
LEVELS = [{"sparsity": 0.5}, {"sparsity": 0.37}, {"pattern": "2:4"}, {"pattern": "1:8"}]
wanda = load("wanda")


def disagreements(model, edit, token_ids, **level):
    """(weights whose fate differs from the paper's, weights), over all linears."""
    differ = total = 0
    inputs = {}
    for block, name, full in linear_inputs.own_linears(model):
        if block not in inputs:
            before = linear_inputs.before(edit, model, block)
            inputs = {block: linear_inputs.of_block(model, before, block, token_ids)}
        dense = model.get_parameter(full)
        kept = edit.tensors[full].of(dense) != 0
        differ += int((kept != paper_mask(dense, inputs[block][name], **level)).sum())
        total += dense.numel()
    return differ, total


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_masks_are_the_papers(model, level):
    """Every linear of every architecture, inputs from hooks on the model pruned so far."""
    edit, _ = wanda(model, Calibration(IDS), **level)
    differ, total = disagreements(model, edit, IDS, **level)
    assert differ <= total * 1e-4  # float32 sums against float64: a near tie may turn


def test_masks_are_the_papers_on_real_weights():
    """SmolLM2's first blocks, with the tokens of a sentence: ties aside, not a bit differs."""
    model = models.load(model_dir(), "float32", torch.device("cpu"))
    model.model.layers = model.model.layers[:2]
    model.config.num_hidden_layers = 2
    tokenizer = models.load_tokenizer(model_dir())
    text = "The lighthouse keeper read the letter twice before he put it away again. " * 20
    ids = torch.tensor(tokenizer(text)["input_ids"][:256]).view(2, 128)
    edit, _ = wanda(model, Calibration(ids), pattern="2:4")
    differ, total = disagreements(model, edit, ids, pattern="2:4")
    assert differ <= total * 1e-5


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_pruning_once_more_changes_nothing(level):
    """The pruned model loses the same weights again, dead inputs and all."""
    model = tiny_model("llama")
    model.model.layers[0].mlp.up_proj.weight[:30] = 0  # most inputs of down_proj are dead
    edit, _ = wanda(model, Calibration(IDS), **level)
    once = models.apply_edit(model, edit)
    again, _ = wanda(once, Calibration(IDS), **level)
    twice = models.apply_edit(once, again)
    for name, tensor in once.state_dict().items():
        assert torch.equal(tensor, twice.state_dict()[name]), name


def test_order_of_calibration_sequences_does_not_matter():
    """Sums in another order: the same bits, near ties aside."""
    model = tiny_model("qwen3")
    one, _ = wanda(model, Calibration(IDS), sparsity=0.5)
    other, _ = wanda(model, Calibration(IDS.flip(0)), sparsity=0.5)
    bits = [
        (one.tensors[full].of(dense) != other.tensors[full].of(dense)).double().mean()
        for _, _, full in linear_inputs.own_linears(model)
        for dense in [model.get_parameter(full)]
    ]
    assert max(bits) < 1e-3


def test_edit_is_a_bit_a_weight(tmp_path):
    """On disk, names and provenance aside."""
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
