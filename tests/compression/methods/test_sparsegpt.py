"""SparseGPT equals its algorithm with single columns, and has a lower error than other methods."""

import math

import pytest
import torch

import linear_inputs
import paper_sparsegpt
from paper_masks import paper_mask
from prunescope.compression.blockwise import Calibration
from prunescope.compression.hessians import DAMPING
from prunescope.compression.methods import load
from prunescope.model import loading, replacements
from smollm2 import model_dir
from tiny import tiny_model

IDS = torch.randint(3, 100, (12, 16), generator=torch.Generator().manual_seed(2))
LEVELS = [{"sparsity": 0.5}, {"sparsity": 0.3}, {"pattern": "2:4"}, {"pattern": "4:8"}]
sparsegpt = load("sparsegpt")


def column_by_column(weight, x, sparsity=None, pattern=None):
    """Updated weight and keep-mask by Algorithm 1 in float64, with an inverse for each column."""
    weight, x = weight.double().clone(), x.double()
    hessian = x.T @ x
    hessian += DAMPING * hessian.diagonal().mean() * torch.eye(len(hessian))
    inverses = [torch.linalg.inv(hessian[j:, j:]) for j in range(len(hessian))]
    corner = torch.stack([inverse[0, 0] for inverse in inverses])
    keep = torch.ones_like(weight, dtype=torch.bool)
    n, m = (int(part) for part in pattern.split(":")) if pattern else (0, 128)
    for j, inverse in enumerate(inverses):
        if j % m == 0:
            importance = weight[:, j : j + m] ** 2 / corner[j : j + m]
            for group in importance if pattern else [importance]:
                removed = m - n if pattern else math.floor(sparsity * group.numel())
                removed_mask = torch.ones_like(group, dtype=torch.bool).flatten()
                removed_mask[group.flatten().argsort()[removed:]] = False
                rows = (importance == group).all(1) if pattern else slice(None)
                keep[rows, j : j + m] = ~removed_mask.view(group.shape)
        error = weight[:, j] * ~keep[:, j] / inverse[0, 0]
        weight[:, j:] -= error.outer(inverse[0])
    return weight * keep, keep


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_reference_of_the_benchmark_equals_the_algorithm(level, generator):
    """A single factor and products between batches give the result of an inverse per column."""
    weight = torch.randn(9, 200, generator=generator)
    x = torch.randn(300, 200, generator=generator) @ torch.randn(200, 200, generator=generator)
    pruned, keep = paper_sparsegpt.pruned(weight, paper_sparsegpt.factor_of(x), **level)
    expected, expected_keep = column_by_column(weight, x, **level)
    assert torch.equal(keep, expected_keep)
    torch.testing.assert_close(pruned, expected)


def _inputs(model, edit, block, ids=IDS):
    return linear_inputs.of_block(model, linear_inputs.before(edit, model, block), block, ids)


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_masks_and_updates_are_those_of_the_algorithm(model, level):
    """In all linears of all architectures, except for a few near ties in float32."""
    edit, _ = sparsegpt(model, Calibration(IDS), **level)
    differ = total = 0
    for block, name, full in linear_inputs.own_linears(model):
        dense = model.get_parameter(full)
        weight, keep = column_by_column(dense, _inputs(model, edit, block)[name], **level)
        pruned = edit.tensors[full].of(dense)
        same = ((pruned != 0) == keep).all(-1)
        differ += int((~same).sum())
        total += len(same)
        torch.testing.assert_close(pruned[same].double(), weight[same], rtol=1e-2, atol=1e-3)
    assert differ <= 0.02 * total


@pytest.mark.parametrize(
    "level", [{"sparsity": 0.5}, {"pattern": "2:4"}, {"pattern": "1:3"}], ids=str
)
def test_several_batches_of_columns(level):
    """300 inputs are three batches, and each compensates for weights removed in earlier ones."""
    model = tiny_model("llama", hidden_size=300, intermediate_size=192, head_dim=12)
    edit, _ = sparsegpt(model, Calibration(IDS), **level)
    x = _inputs(model, edit, 0)["mlp.gate_proj"]
    full = "model.layers.0.mlp.gate_proj.weight"
    dense = model.get_parameter(full)
    weight, keep = column_by_column(dense, x, **level)
    pruned = edit.tensors[full].of(dense)
    assert ((pruned != 0) == keep).double().mean() > 0.995
    error_ratio = ((pruned - dense) @ x.T).norm() / ((weight.float() - dense) @ x.T).norm()
    assert float(error_ratio) == pytest.approx(1, abs=0.02)
    if "sparsity" in level:
        assert all((part == 0).double().mean() == 0.5 for part in pruned.split(128, dim=1))


def test_fewer_tokens_than_inputs():
    """The Hessian of four tokens is singular, and damping makes the algorithm well defined."""
    model, few = tiny_model("llama"), IDS[:1, :4]
    edit, _ = sparsegpt(model, Calibration(few), sparsity=0.5)
    for name, x in _inputs(model, edit, 0, few).items():
        full = f"model.layers.0.{name}.weight"
        dense = model.get_parameter(full)
        weight, keep = column_by_column(dense, x, sparsity=0.5)
        pruned = edit.tensors[full].of(dense)
        assert ((pruned != 0) == keep).double().mean() > 0.98
        assert pruned.norm() == pytest.approx(float(weight.norm()), rel=0.05)


def test_weights_that_are_zero_are_removed_first():
    """Leading columns of zeros stay zero, and the number of removed weights is exact."""
    model = tiny_model("llama")
    full = "model.layers.0.mlp.gate_proj.weight"
    dense = model.get_parameter(full)
    dense[:, :6] = 0
    edit, _ = sparsegpt(model, Calibration(IDS), sparsity=0.5)
    keep = replacements.unpack_bits(edit.tensors[full].keep, dense.shape)
    assert int(keep.sum()) == dense.numel() // 2
    assert not keep[:, :6].any()


def _errors(dense, pruned, x, level):
    """|(Ŵ - W) X| of SparseGPT, Wanda and magnitude pruning on the same inputs."""
    magnitude = paper_mask(dense, torch.ones_like(x), **level)
    wanda = paper_mask(dense, x, **level)
    return [
        float(((new - dense) @ x.T).norm()) for new in (pruned, dense * wanda, dense * magnitude)
    ]


@pytest.mark.parametrize("level", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_error_is_below_those_of_wanda_and_magnitude(model, level):
    """In all linears of all architectures, on the inputs of SparseGPT's own variant."""
    edit, _ = sparsegpt(model, Calibration(IDS), **level)
    for block, name, full in linear_inputs.own_linears(model):
        dense = model.get_parameter(full)
        x = _inputs(model, edit, block)[name]
        ours, wanda, magnitude = _errors(dense, edit.tensors[full].of(dense), x, level)
        assert ours < min(wanda, magnitude), full


def test_error_is_below_those_of_wanda_and_magnitude_on_real_weights():
    """In the first blocks of SmolLM2, on a text."""
    model = loading.load(model_dir(), "float32", torch.device("cpu"))
    model.model.layers = model.model.layers[:2]
    model.config.num_hidden_layers = 2
    text = "A lighthouse keeper reads a letter twice before he puts it away. " * 50
    ids = torch.tensor(loading.load_tokenizer(model_dir())(text)["input_ids"][:512]).view(2, 256)
    level = {"pattern": "2:4"}
    edit, _ = sparsegpt(model, Calibration(ids), **level)
    for block, name, full in linear_inputs.own_linears(model):
        dense = model.get_parameter(full)
        x = _inputs(model, edit, block, ids)[name]
        groups = edit.tensors[full].of(dense).unflatten(-1, (-1, 4))
        assert (groups.count_nonzero(-1) <= 2).all()
        ours, wanda, magnitude = _errors(dense, edit.tensors[full].of(dense), x, level)
        assert ours < min(wanda, magnitude), full


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 3), (4, 4)])
def test_every_group_of_every_linear_has_the_pattern(n, m):
    """Also for values of m that do not divide a batch of 128 columns."""
    model = tiny_model("llama", intermediate_size=48)
    edit, report = sparsegpt(model, Calibration(IDS), pattern=f"{n}:{m}")
    for _, _, full in linear_inputs.own_linears(model):
        pruned = edit.tensors[full].of(model.get_parameter(full))
        assert (pruned.unflatten(-1, (-1, m)).count_nonzero(-1) == n).all()
    assert all(row["sparsity"] == pytest.approx(1 - n / m) for row in report.to_pylist())


@pytest.mark.parametrize("sparsity", [0.0, 0.37, 1.0])
def test_number_of_zeros_is_exact(sparsity):
    """It is the floor of the share; a sparsity of 0 changes no bit."""
    model = tiny_model("llama")
    edit, _ = sparsegpt(model, Calibration(IDS), sparsity=sparsity)
    for _, _, full in linear_inputs.own_linears(model):
        dense = model.get_parameter(full)
        pruned = edit.tensors[full].of(dense)
        assert int((pruned == 0).sum()) == math.floor(sparsity * dense.numel() + 1e-9)
        assert sparsity or torch.equal(pruned, dense)


def test_weights_of_inputs_that_are_always_zero_are_removed_first():
    """With thirty of forty neurons dead, nearly all weights of the others remain."""
    model = tiny_model("llama")
    model.model.layers[0].mlp.up_proj.weight[:30] = 0
    edit, _ = sparsegpt(model, Calibration(IDS), sparsity=0.5)
    full = "model.layers.0.mlp.down_proj.weight"
    pruned = edit.tensors[full].of(model.get_parameter(full))
    assert (pruned[:, 30:] != 0).double().mean() > 0.95


def test_order_of_calibration_sequences_does_not_matter():
    """Sums in another order change few weights."""
    model = tiny_model("qwen3")
    one, _ = sparsegpt(model, Calibration(IDS), sparsity=0.5)
    other, _ = sparsegpt(model, Calibration(IDS.flip(0)), sparsity=0.5)
    differ = [
        float(((one.tensors[n].of(w) != 0) != (other.tensors[n].of(w) != 0)).double().mean())
        for _, _, n in linear_inputs.own_linears(model)
        for w in [model.get_parameter(n)]
    ]
    assert sum(differ) / len(differ) < 0.01
