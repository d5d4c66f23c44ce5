"""A variant is the dense model with an edit, and computes no more than it must."""

import dataclasses
import json
import re
from typing import Any

import pytest
import torch

from prunescope.model import anatomy, edits, loading
from prunescope.model.replacements import KeptRows
from prunescope.progress import JobError
from tiny import make_tiny_model, tiny_model

TOKENS = torch.tensor([[5, 17, 3, 99, 42, 8, 64]])
DROPS = [
    {"attn": (0,)},
    {"attn": (0, 2), "mlp": (1,)},
    {"mlp": (0, 1, 2)},
    {"block": (1,)},
    {"attn": (0, 1, 2), "mlp": (0, 1, 2)},
]


def _with_zeroed_outputs(model: Any, dropped: dict[str, tuple[int, ...]]) -> torch.Tensor:
    """Logits when hooks replace each dropped sublayer's addition to the stream by zero."""
    edit = edits.Edit(dropped=dropped)
    body = anatomy.anatomy_of(model)
    handles = []
    for index, block in enumerate(anatomy.blocks_of(model)):
        for half in anatomy.SUBLAYERS:
            if edit.is_dropped(index, half):
                # A post-norm block normalises the output first: zero what leaves the norm.
                norms = [n for n in body.sublayers[half].norms if n != body.reads_resid_mid]
                post = body.reads_resid_mid == "mlp"
                name = norms[0] if post else body.sublayers[half].module
                handles.append(
                    block.get_submodule(name).register_forward_hook(
                        lambda _, __, out: (
                            (torch.zeros_like(out[0]), *out[1:])
                            if isinstance(out, tuple)
                            else torch.zeros_like(out)
                        )
                    )
                )
    logits = model(TOKENS).logits
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize("dropped", DROPS, ids=str)
def test_dropping_equals_setting_the_output_to_zero(model, dropped):
    """The logits are the same, and the dense model is not changed."""
    before = model(TOKENS).logits
    variant = loading.apply_edit(model, edits.Edit(dropped=dropped))
    torch.testing.assert_close(variant(TOKENS).logits, _with_zeroed_outputs(model, dropped))
    torch.testing.assert_close(model(TOKENS).logits, before, rtol=0, atol=0)


@pytest.mark.parametrize("dropped", DROPS, ids=str)
def test_decoding_with_a_cache_equals_one_pass(model, dropped):
    """Indices of the cache are correct: decoding gives the logits of a single pass."""
    variant = loading.apply_edit(model, edits.Edit(dropped=dropped))
    whole, cache, steps = variant(TOKENS).logits, None, []
    for position in range(TOKENS.shape[1]):
        out = variant(TOKENS[:, [position]], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, 1), whole)


def test_each_kind_of_attention_keeps_its_kind_of_cache():
    """One full and two sliding layers; positions are counted even without the full one."""
    model = tiny_model(
        "qwen2", use_sliding_window=True, sliding_window=3, max_window_layers=1
    ).double()
    assert len(set(model.config.layer_types)) == 2
    test_decoding_with_a_cache_equals_one_pass(model, {"attn": (1,)})
    test_decoding_with_a_cache_equals_one_pass(model, {"attn": (0,)})


def test_dropped_sublayers_need_no_computation_and_no_cache():
    """Without two of three attention sublayers, the cache has a third of the size."""
    model = tiny_model("llama")
    variant = loading.apply_edit(model, edits.Edit(dropped={"attn": (0, 2)}))
    cache = variant(TOKENS, use_cache=True).past_key_values
    filled = [layer for layer in cache.layers if layer.get_seq_length() > 0]
    assert len(filled) == 1
    linears = [n for n, m in variant.named_modules() if isinstance(m, torch.nn.Linear)]
    assert sum("self_attn" in name for name in linears) == 4


def test_unedited_tensors_are_shared():
    """A variant of a model with 7B parameters must not copy them."""
    model = tiny_model("qwen3")
    name = "model.layers.1.mlp.down_proj.weight"
    edit = edits.Edit(dropped={"attn": (0,)}, tensors={name: model.get_parameter(name) * 0})
    variant = loading.apply_edit(model, edit)
    dense = dict(model.named_parameters())
    for other, parameter in variant.named_parameters():
        assert (parameter.data_ptr() == dense[other].data_ptr()) == (other != name)


def test_dropping_a_block_that_does_not_exist_is_refused():
    """For instance with the edit of a deeper model."""
    with pytest.raises(ValueError, match="there are 3 blocks"):
        loading.apply_edit(tiny_model("llama"), edits.Edit(dropped={"block": (7,)}))


def test_error_for_an_unknown_architecture_says_what_to_do():
    """It names the file to edit."""
    model = tiny_model("llama")
    model.config.model_type = "mamba"
    with pytest.raises(ValueError, match=r"anatomy\.py"):
        anatomy.anatomy_of(model)


def test_edits_are_read_as_they_were_written(tmp_path):
    """Indices and tensors are the same, for any dtype."""
    weight = torch.randn(4, 6).bfloat16()
    edit = edits.Edit(dropped={"attn": (1, 5), "block": ()}, tensors={"a.weight": weight})
    edits.write(tmp_path / "edit.safetensors", edit, {})
    found = edits.read(tmp_path / "edit.safetensors")
    assert found.dropped == edit.dropped
    assert torch.equal(found.tensors["a.weight"], weight)


def test_parameters_can_share_one_replacement(tmp_path):
    """Gate and up lose the same rows: one mask in memory, and one per parameter on disk."""
    rows = KeptRows.by(torch.tensor([True, False, True]))
    edit = edits.Edit(tensors={"gate.weight": rows, "up.weight": rows})
    edits.write(tmp_path / "edit.safetensors", edit, {})
    found = edits.read(tmp_path / "edit.safetensors").tensors
    assert {name: each.rows.tolist() for name, each in found.items()} == {
        "gate.weight": [0b10100000],
        "up.weight": [0b10100000],
    }


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"rope_parameters": {"rope_type": "wonder", "rope_theta": 1e4}}, "wonder"),
        ({"hidden_act": "wonder"}, "wonder"),
        ({"rms_norm_eps": "small"}, ""),
        ({"layer_types": ["wonder"] * 3}, ""),
    ],
)
def test_what_transformers_cannot_build_is_refused_in_one_line(tmp_path, settings, reason):
    """Whatever it raises: the type of the error and its words stand in ours."""
    folder = make_tiny_model(tmp_path / "m", "qwen2")
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    with pytest.raises(JobError, match=rf"transformers makes no model of .*{reason}") as failure:
        loading.load(folder, "float32", torch.device("cpu"))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("blocks", "model.blocks"),
        ("final_norm", "model.ln"),
        ("lm_head", "embed_out"),
        ("attn", "attention"),
        ("mlp_out", "mlp.fc2"),
        ("reads_resid_mid", "ln_2"),
        ("mlp_norms", ("ln_2",)),
        ("mlp_sum_norm", "ln_3"),
    ],
)
def test_an_entry_that_names_what_the_model_lacks_is_told_by_name(
    tmp_path, monkeypatch, part, name
):
    folder = make_tiny_model(tmp_path / "m")
    entry = dataclasses.replace(anatomy.ANATOMIES["llama"], **{part: name})
    monkeypatch.setitem(anatomy.ANATOMIES, "llama", entry)
    lacking = name[0] if isinstance(name, tuple) else name
    message = rf"entry 'llama' of ANATOMIES names {re.escape(lacking)}\S*, which the model does not"
    with pytest.raises(JobError, match=message):
        loading.load(folder, "float32", torch.device("cpu"))


@pytest.mark.parametrize("architecture", sorted(anatomy.ANATOMIES))
def test_no_entry_names_what_its_models_lack(architecture):
    kinds = ("causal", "encoder") if anatomy.ANATOMIES[architecture].lm_head else ("encoder",)
    for kind in kinds:
        assert anatomy.missing_parts(tiny_model(architecture, kind=kind), kind) == []
