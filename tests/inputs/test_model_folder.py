"""Errors of a checkpoint are found by names and headers, before any tensor is read."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from prunescope.inputs import model_folder, sources
from tiny import make_tiny_model, tiny_model

FILE = "model.safetensors"


@pytest.fixture
def folder(tmp_path):
    return make_tiny_model(tmp_path / "m")


def told(folder, kind=None):
    files = sources.model_files({"from": "path", "path": str(folder)}, folder)
    return list(model_folder.refusals(files, kind))


def rewrite(folder, change):
    tensors = load_file(folder / FILE)
    change(tensors)
    save_file(tensors, folder / FILE, {"format": "pt"})


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "phi3", "granite", "olmo2"])
def test_checkpoints_of_transformers_are_accepted(architecture, tmp_path):
    assert told(make_tiny_model(tmp_path / "m", architecture), "causal") == []


def test_shards_and_tied_weights_are_accepted(tmp_path):
    folder = make_tiny_model(tmp_path / "m", tie_word_embeddings=True)
    (folder / FILE).unlink()
    tiny_model("llama", vocabulary=320, tie_word_embeddings=True).save_pretrained(
        folder, max_shard_size="20KB"
    )
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert told(folder, "causal") == []


def test_encoders_and_decoders_without_lm_head_are_accepted(tmp_path):
    for architecture in ("bert", "mistral"):
        folder = make_tiny_model(tmp_path / architecture)
        tiny_model(architecture, vocabulary=320, kind="encoder").save_pretrained(folder)
        assert told(folder, "encoder") == []
        (message,) = told(folder, "causal")
        assert "kind: encoder" in message


def delete(name):
    return lambda tensors: tensors.pop(name)


def quantize(tensors):
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)


def add_scale(tensors):
    tensors["model.layers.0.mlp.up_proj.weight_scale_inv"] = torch.ones(1)


def drop_last_block(tensors):
    for name in [name for name in tensors if ".layers.2." in name]:
        del tensors[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (delete("lm_head.weight"), "lack lm_head.weight"),
        (delete("model.layers.1.mlp.down_proj.weight"), "block 1 lack mlp.down_proj.weight"),
        (drop_last_block, "has 3 blocks, .* block 2 is missing|block 2 is missing"),
        (quantize, "quantized already .*F8_E4M3"),
        (add_scale, "quantized already .*weight_scale_inv"),
    ],
)
def test_missing_or_quantized_tensors_are_refused(change, message, folder):
    rewrite(folder, change)
    with pytest.raises(AssertionError, match=message):
        assert not told(folder), told(folder)


def test_damaged_files_of_weights_are_refused(folder):
    whole = (folder / FILE).read_bytes()
    for content, message in (
        (whole[:-1], "not copied whole"),
        (whole[:100], "damaged"),
        (b"", "damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    ):
        (folder / FILE).write_bytes(content)
        (said,) = told(folder)
        assert message in said


def test_weights_under_another_name_are_refused(folder):
    (folder / FILE).rename(folder / "model.fp16.safetensors")
    (said,) = told(folder)
    assert "Rename it to model.safetensors" in said
    (folder / "last").mkdir()
    (folder / "model.fp16.safetensors").rename(folder / "last" / FILE)
    (said,) = told(folder)
    assert "Name that folder (last)" in said


def test_a_second_set_of_weights_is_refused(folder):
    """It is left out if it is known to hold the same weights."""
    (folder / "checkpoint-5").mkdir()
    for name in ("checkpoint-5/model.safetensors", "model.fp16.safetensors"):
        (folder / name).write_bytes((folder / FILE).read_bytes())
    assert told(folder) == []
    files = sources.model_files({"from": "path", "path": str(folder)}, folder)
    assert [name for name in model_folder.used(files) if name.endswith(".safetensors")] == [FILE]
    (folder / "2_Dense").mkdir()
    save_file({"linear.weight": torch.ones(2, 2)}, folder / "2_Dense" / FILE)
    (said,) = told(folder)
    assert "2_Dense/model.safetensors beside model.safetensors" in said


def test_a_single_file_beside_shards_of_another_set_is_refused(folder):
    """transformers would read the single file and ignore the index."""
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-00001-of-00001.safetensors").write_bytes((folder / FILE).read_bytes())
    (said,) = told(folder)
    assert "two sets of weights" in said


def test_an_adapter_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")
    (folder / FILE).rename(folder / "adapter_model.safetensors")
    (said,) = told(folder)
    assert "adapter" in said and "merge_and_unload" in said


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"'])
@pytest.mark.parametrize(
    "name", ["generation_config.json", "tokenizer_config.json", "special_tokens_map.json"]
)
def test_settings_that_are_no_json_object_are_refused(folder, name, content):
    """transformers leaves out a damaged generation config, and with it the ends of text."""
    (folder / name).write_text(content)
    (message,) = told(folder, "causal")
    assert message.startswith(f"{name} is damaged: it is no JSON object.")
    (folder / name).unlink()
    assert told(folder, "causal") == []
