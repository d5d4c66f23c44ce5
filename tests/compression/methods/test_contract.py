"""Properties of all methods, which are found by the names of their files."""

import ast
import inspect

import pyarrow as pa
import pytest
import torch

from prunescope.compression import influence, methods
from prunescope.compression.blockwise import Calibration
from prunescope.model import anatomy, edits, loading
from prunescope.tables.schemas import TABLES
from tiny import EMBEDDERS, tiny_model

KNOWN = {"model", "calibration", *TABLES}

SETTINGS = {
    "identity": {},
    "sublayer_drop": {"sublayer": "any", "n_drop": 2},
    "block_drop": {"n_drop": 1},
    "magnitude": {"sparsity": 0.5},
    "wanda": {"pattern": "2:4"},
    "sparsegpt": {"sparsity": 0.5},
    "neuron": {"sparsity": 0.25},
    "rtn": {"bits": 4, "group_size": 8},
    "awq": {"bits": 4, "group_size": 8},
}
"""Settings of each method for a model of three blocks, with d = 24 and 40 neurons."""

IDS = torch.randint(3, 100, (4, 16), generator=torch.Generator().manual_seed(3))

every_method = pytest.mark.parametrize("name", methods.names())
every_edit = pytest.mark.parametrize(
    "name", [n for n in methods.names() if "model" in methods.reads(n)]
)


def compressed(name, model):
    """Edit and report of one method."""
    inputs = {
        "model": lambda: model,
        "calibration": lambda: Calibration(IDS),
        "influence": lambda: influence.influences(model, [IDS]),
        "removal_score": lambda: None,  # the published choice, by influence
    }
    return methods.load(name)(*(inputs[n]() for n in methods.reads(name)), **SETTINGS[name])


@every_method
def test_parameters_are_inputs_or_settings(name):
    """Positional parameters are inputs, and all settings are keyword-only."""
    signature = inspect.signature(methods.load(name))
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert set(methods.reads(name)) <= KNOWN
    assert not set(methods.settings(name)) & set(methods.reads(name))


@every_method
def test_method_is_one_public_function_with_a_docstring(name):
    """Both the module and its function `compress` have docstrings."""
    module = inspect.getmodule(methods.load(name))
    tree = ast.parse(inspect.getsource(module))
    public = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    assert public == ["compress"]
    assert module.__doc__
    assert methods.load(name).__doc__


def test_error_for_an_unknown_method_lists_the_known_ones():
    """Nothing is imported."""
    with pytest.raises(ValueError, match="there are awq, block_drop, identity"):
        methods.load("magic")


@every_method
def test_edit_round_trips_and_runs_on_every_architecture(name, model, tmp_path):
    """An edit that is written and read gives the same variant, whose logits are finite."""
    edit, report = compressed(name, model)
    edits.write(tmp_path / "edit.safetensors", edit, {})
    logits = loading.apply_edit(model, edit)(IDS).logits
    again = loading.apply_edit(model, edits.read(tmp_path / "edit.safetensors"))(IDS).logits
    assert torch.equal(again, logits)
    assert logits.isfinite().all()
    assert torch.equal(logits, model(IDS).logits) == (name == "identity")
    assert report.schema.equals(TABLES["compression_report"].schema)
    assert set(report.column("method").to_pylist()) <= {name}


@every_edit
@pytest.mark.parametrize("architecture", EMBEDDERS)
def test_embedding_models_can_be_compressed(name, architecture):
    """Edited linears belong to blocks, and hidden states change and stay finite."""
    model = tiny_model(architecture, kind="encoder")
    edit, report = compressed(name, model)
    blocks = f"{anatomy.anatomy_of(model).blocks}."
    assert all(key.startswith(blocks) for key in edit.tensors)
    assert set(report.column("block").to_pylist()) == {0, 1, 2}
    h, dense = (
        m(IDS, use_cache=False).last_hidden_state for m in (loading.apply_edit(model, edit), model)
    )
    assert h.isfinite().all()
    assert not torch.equal(h, dense)


@every_method
def test_other_tensors_are_dense_bit_for_bit(name, model):
    """No method edits embeddings, norms or lm_head, and the dense model is not changed."""
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    edit, _ = compressed(name, model)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert not [key for key in edit.tensors if "norm" in key or "embed" in key or "lm_head" in key]
    if not edit.dropped:
        variant = loading.apply_edit(model, edit).state_dict()
        unedited = set(before) - set(edit.tensors)
        assert all(torch.equal(before[key], variant[key]) for key in unedited)


@every_edit
def test_report_has_a_row_for_every_edited_linear(name):
    """It gives the sparsity of the weight in the variant, and an output error."""
    model = tiny_model("llama")
    edit, report = compressed(name, model)
    rows = {f"model.layers.{r['block']}.{r['linear']}.weight": r for r in report.to_pylist()}
    assert set(rows) == {key for key in edit.tensors if key.endswith(".weight")}
    for key, row in rows.items():
        assert 0 < row["relative_output_error"] < 1.5
        dense, replacement = model.get_parameter(key), edit.tensors[key]
        new = getattr(replacement, "zeroed", replacement.of)(dense)
        assert row["sparsity"] == pytest.approx(float((new == 0).double().mean()))


@every_edit
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_keep_their_dtype(name, dtype):
    model = tiny_model("llama").to(dtype)
    edit, _ = compressed(name, model)
    variant = loading.apply_edit(model, edit)
    assert {parameter.dtype for parameter in variant.parameters()} == {dtype}
    assert variant(IDS).logits.isfinite().all()


@every_edit
def test_the_same_inputs_give_the_same_bytes(name, tmp_path):
    """Both runs are in one process, with the same number of threads."""
    for run in ("one", "two"):
        edits.write(tmp_path / run, compressed(name, tiny_model("qwen3"))[0], {})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@every_edit
def test_error_names_the_linear_with_nan_in_its_weight(name):
    model = tiny_model("llama")
    model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.down_proj"):
        compressed(name, model)


@every_edit
def test_inputs_that_are_always_zero_are_allowed(name):
    """A model with dead neurons gives a variant with finite logits."""
    model = tiny_model("llama")
    model.model.layers[0].mlp.up_proj.weight[:30] = 0
    edit, report = compressed(name, model)
    assert loading.apply_edit(model, edit)(IDS).logits.isfinite().all()
    assert isinstance(report, pa.Table)
