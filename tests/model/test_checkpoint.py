"""Every tensor of a checkpoint is used, and every parameter comes from the checkpoint."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from prunescope.model import loading
from prunescope.progress import JobError
from tiny import ARCHITECTURES, make_tiny_model, tiny_model

CPU = torch.device("cpu")


def edited(folder, edit):
    """The folder's weights, changed by `edit`."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    edit(weights)
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()}, file, {"format": "pt"}
    )


def saved(folder, model):
    """A folder with the tokenizer of a tiny model and the weights and config of another."""
    make_tiny_model(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_complete_checkpoint_is_loaded_completely(tmp_path, architecture):
    """The logits equal those of the model that was saved."""
    folder = make_tiny_model(tmp_path / "m", architecture)
    ids = torch.tensor([[5, 6, 7, 8]])
    one, other = (loading.load(folder, "float32", CPU)(ids).logits for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    "name", ["lm_head.weight", "model.norm.weight", "model.layers.1.mlp.down_proj.weight"]
)
def test_a_missing_tensor_is_refused_by_name(tmp_path, name):
    folder = make_tiny_model(tmp_path / "m")
    edited(folder, lambda weights: weights.pop(name))
    with pytest.raises(JobError, match=f"lacks {re.escape(name)}, which would be filled"):
        loading.load(folder, "float32", CPU)


def test_an_unused_tensor_is_refused_by_name(tmp_path):
    folder = make_tiny_model(tmp_path / "m")
    edited(
        folder,
        lambda weights: weights.update({"model.layers.3.mlp.up_proj.weight": torch.ones(2, 2)}),
    )
    with pytest.raises(JobError, match=r"nothing in the model reads model\.layers\.3"):
        loading.load(folder, "float32", CPU)


def test_rotary_frequencies_of_old_checkpoints_are_ignored(tmp_path):
    """They follow from config.json."""
    folder = make_tiny_model(tmp_path / "m")
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    edited(folder, lambda weights: weights.update({name: torch.ones(3)}))
    loading.load(folder, "float32", CPU)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_quantized_weights_are_refused(tmp_path, dtype):
    """Without their scales they would be wrong weights."""
    folder = make_tiny_model(tmp_path / "m")

    def pack(weights):
        name = "model.layers.0.mlp.up_proj.weight"
        weights[name] = (weights[name] * 8).to(dtype)

    edited(folder, pack)
    with pytest.raises(JobError, match="quantized numbers"):
        loading.load(folder, "float32", CPU)


def test_a_tensor_of_another_shape_is_refused(tmp_path):
    folder = make_tiny_model(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(JobError, match="another shape than config"):
        loading.load(folder, "float32", CPU)


def test_a_second_set_of_weights_is_refused(tmp_path):
    folder = make_tiny_model(tmp_path / "m")
    save_file(load_file(folder / "model.safetensors"), folder / "other.safetensors")
    with pytest.raises(JobError, match=r"other\.safetensors lie beside"):
        loading.load(folder, "float32", CPU)


def test_weights_under_another_name_are_refused(tmp_path):
    folder = make_tiny_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    with pytest.raises((JobError, OSError), match=r"model\.safetensors"):
        loading.load(folder, "float32", CPU)


@pytest.mark.parametrize(
    "auto", [AutoModelForSequenceClassification, AutoModelForTokenClassification]
)
def test_a_classifier_is_refused_as_a_causal_model(tmp_path, auto):
    """A reward model has no lm_head, which would be random."""
    classifier = auto.from_config(tiny_model("qwen2", vocabulary=320).config)
    with pytest.raises(JobError, match="lm_head"):
        loading.load(saved(tmp_path / "m", classifier), "float32", CPU)


def test_a_model_without_lm_head_is_accepted_only_as_an_encoder(tmp_path):
    folder = saved(tmp_path / "m", tiny_model("mistral", kind="encoder", vocabulary=320))
    with pytest.raises(JobError, match="kind"):
        loading.load(folder, "float32", CPU)
    assert loading.load(folder, "float32", CPU, "encoder")


def test_loading_as_an_encoder_leaves_out_lm_head(tmp_path):
    """Hidden states of a causal checkpoint are the same with and without lm_head."""
    folder = make_tiny_model(tmp_path / "m")
    ids = torch.tensor([[5, 6, 7, 8]])
    whole = loading.load(folder, "float32", CPU).base_model(ids).last_hidden_state
    assert torch.equal(
        loading.load(folder, "float32", CPU, "encoder")(ids).last_hidden_state, whole
    )


@pytest.mark.parametrize("pooler", [True, False])
def test_a_pooler_is_neither_required_nor_loaded(tmp_path, pooler):
    """Embeddings are made of hidden states."""
    config = tiny_model("bert", kind="encoder", vocabulary=320).config
    folder = saved(tmp_path / "m", AutoModel.from_config(config, add_pooling_layer=pooler))
    model = loading.load(folder, "float32", CPU, "encoder")
    assert not any("pooler" in name for name, _ in model.named_parameters())
    assert model(torch.tensor([[5, 6]])).last_hidden_state.isfinite().all()


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_biases_of_gpt2_are_read_with_and_without_the_prefix(tmp_path, prefix):
    """transformers ignores `attn.bias`, a mask in old files, but reads `attn.c_attn.bias`."""
    folder = make_tiny_model(tmp_path / "gpt2", "gpt2")
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace("transformer.", prefix): tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    model = loading.load(folder, "float32", torch.device("cpu"))
    bias = tensors["transformer.h.1.attn.c_attn.bias"]
    assert torch.equal(model.transformer.h[1].attn.c_attn.bias, bias)
