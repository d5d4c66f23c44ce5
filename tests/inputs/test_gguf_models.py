"""All tensors and settings of a GGUF file are read; an unknown one is refused by name.

The files are written here as llama.cpp's converter does, from models whose logits are the oracle.
"""

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from prunescope.inputs import gguf_header, gguf_models
from prunescope.progress import JobError
from tiny import tiny_model

VOCABULARY = 320
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0}
LLAMA3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 16}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
PARTS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}


def make(architecture="llama", rope=PLAIN):
    return tiny_model(
        architecture,
        vocabulary=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        head_dim=16,
        max_position_embeddings=512,
        rope_parameters=rope,
    )


def interleaved(rows, n_heads):
    """Rows in llama.cpp's order: the two halves of each head's rotary pairs in turns."""
    return rows.reshape(n_heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write(file, model, settings=(), tensors=(), pre="llama-bpe", **text):
    """The model as a GGUF file, with further settings (key -> value) and tensors."""
    config = model.config
    writer = gguf.GGUFWriter(str(file), config.model_type)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(16)
    for key, value in dict(settings).items():
        kind = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        kind[type(value)](f"{config.model_type}.{key}", value)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    others = [f"<x{i}>" for i in range(VOCABULARY - len(alphabet) - 1)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*alphabet, alphabet[65] + alphabet[66], *others])
    writer.add_token_merges([f"{alphabet[65]} {alphabet[66]}"])
    writer.add_token_types([1] * VOCABULARY)
    writer.add_bos_token_id(VOCABULARY - 2)
    writer.add_eos_token_id(VOCABULARY - 1)
    for name, value in text.items():
        writer.add_bool(f"tokenizer.ggml.{name}", value)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"])
    writer.add_tensor("output.weight", weights["lm_head.weight"])
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"])
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for block in range(config.num_hidden_layers):
        for part, place in PARTS.items():
            for leaf in ("weight", "bias"):
                weight = weights.get(f"model.layers.{block}.{place}.{leaf}")
                if weight is None:
                    continue
                if part in heads and config.model_type == "llama":
                    weight = np.ascontiguousarray(interleaved(weight, heads[part]))
                writer.add_tensor(f"blk.{block}.{part}.{leaf}", weight)
    for name, tensor in dict(tensors).items():
        writer.add_tensor(name, np.asarray(tensor, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def read(file):
    folder = file.with_suffix("")
    folder.mkdir()
    gguf_models.dequantize(file, folder)
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def assert_same_logits(file, model):
    ids = torch.randint(0, 256, (1, 100), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(read(file)(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)


def factors(model):
    """What llama.cpp divides each frequency by."""
    unscaled = 1 / 10000 ** (np.arange(0, 16, 2) / 16)
    return {"rope_freqs.weight": unscaled / model.model.rotary_emb.inv_freq.numpy()}


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_logits_equal_those_of_the_original_model(architecture, tmp_path):
    """Also with biases (Qwen2), and with head norms and heads wider than d / heads (Qwen3)."""
    model = make(architecture)
    pre = "llama-bpe" if architecture == "llama" else "qwen2"
    assert_same_logits(write(tmp_path / "m.gguf", model, pre=pre), model)


def test_rotary_factors_become_the_scaling_of_llama_3(tmp_path):
    model = make(rope=LLAMA3)
    assert_same_logits(write(tmp_path / "m.gguf", model, tensors=factors(model)), model)


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_rotary_scaling_is_read_from_the_settings(kind, tmp_path):
    rope = {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0}
    settings = {"rope.scaling.type": kind, "rope.scaling.factor": 4.0}
    if kind == "yarn":
        rope["original_max_position_embeddings"] = 128
        settings["rope.scaling.original_context_length"] = 128
    model = make(rope=rope)
    assert_same_logits(write(tmp_path / "m.gguf", model, settings), model)


@pytest.mark.parametrize(
    ("settings", "tensors", "message"),
    [
        ({}, {"rope_freqs.weight": [1.0, 1, 2, 2, 3, 3, 4, 4]}, "rope_freqs.weight"),
        ({}, {"rope_factors_long.weight": [1.0] * 8}, "rope_factors_long.weight"),
        ({}, {"blk.0.attn_q.bias": [1.0] * 64}, "blk.0.attn_q.bias"),
        ({}, {"blk.7.attn_norm.weight": [1.0] * 64}, "blk.7.attn_norm.weight"),
        ({"rope.scaling.type": "longrope"}, {}, "longrope"),
        ({"rope.scaling.type": "linear"}, {}, "lacks a factor"),
        ({"rope.dimension_count": 8}, {}, "rope.dimension_count is 8"),
        ({"attention.scale": 0.5}, {}, "attention.scale"),
        ({"final_logit_softcapping": 30.0}, {}, "final_logit_softcapping"),
        ({"attention.sliding_window": 64}, {}, "sliding_window"),
        ({"expert_count": 8}, {}, "expert_count"),
        ({"vocab_size": 300}, {}, r"not \(300, 64\)"),
    ],
)  # fmt: skip
def test_unknown_tensors_and_settings_are_refused_by_name(settings, tensors, message, tmp_path):
    file = write(tmp_path / "m.gguf", make(), settings, tensors)
    with pytest.raises(JobError, match=message) as refused:
        read(file)
    assert "\n" not in str(refused.value)


def test_settings_without_effect_are_ignored(tmp_path):
    model = make()
    settings = {"attention.sliding_window": 512, "expert_count": 0, "rope.scaling.type": "none"}
    ones = {"rope_freqs.weight": [1.0] * 8}
    assert_same_logits(write(tmp_path / "m.gguf", model, settings, ones), model)


@pytest.mark.parametrize(("said", "begins"), [(None, True), (True, True), (False, False)])
def test_the_file_decides_whether_texts_begin_with_a_special_token(said, begins, tmp_path):
    text = {} if said is None else {"add_bos_token": said}
    file = write(tmp_path / "m.gguf", make(), **text)
    read(file)
    ids = AutoTokenizer.from_pretrained(file.with_suffix(""))("a b")["input_ids"]
    assert (ids[0] == VOCABULARY - 2) is begins and len(ids) == 3 + begins


@pytest.mark.parametrize("text", [{"pre": "default"}, {"add_eos_token": True}])
def test_an_unsupported_tokenizer_is_refused(text, tmp_path):
    with pytest.raises(JobError, match=r"tokenizer"):
        read(write(tmp_path / "m.gguf", make(), **text))


def test_the_header_equals_that_of_the_gguf_package(tmp_path):
    file = write(tmp_path / "m.gguf", make())
    header, reader = gguf_header.read(file), gguf.GGUFReader(file)
    assert header.tensors == {t.name: tuple(map(int, t.shape)) for t in reader.tensors}
    fields = {n: f.contents() for n, f in reader.fields.items() if not n.startswith("GGUF.")}
    assert header.metadata == fields
    assert gguf_header.settings_of(header)["num_hidden_layers"] == 3


def test_a_damaged_file_is_refused(tmp_path):
    file = tmp_path / "m.gguf"
    whole = write(tmp_path / "whole.gguf", make()).read_bytes()
    for content in (b"", b"GGML" + bytes(100), whole[:300]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"m\.gguf is"):
            gguf_header.read(file)
