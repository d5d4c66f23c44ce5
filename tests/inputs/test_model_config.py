"""config.json alone shows which models cannot run, and the sizes that planning needs."""

import pytest
from transformers import AutoConfig

from prunescope.inputs import model_config
from prunescope.model import anatomy
from tiny import ARCHITECTURES, tiny_model

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 3,
    "hidden_size": 24,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 4096,
    "vocab_size": 320,
}


def told(kind=None, **changes):
    return list(model_config.refusals({**LLAMA, **changes}, kind))


def test_supported_types_are_those_of_the_anatomies():
    """Types read from the source text of the module equal those of the imported module."""
    assert model_config.known_types() == {
        name: body.lm_head for name, body in anatomy.ANATOMIES.items()
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sizes_equal_those_of_the_model(architecture):
    """Blocks, positions and inputs of each linear, compared with a model that is built."""
    model = tiny_model(architecture)
    settings = model_config.parse(model.config.to_json_string(use_diff=False))
    settings = {**settings, "architectures": [type(model).__name__]}
    assert list(model_config.refusals(settings, "causal")) == []
    shape = model_config.shape_of(settings)
    blocks = anatomy.blocks_of(model)
    assert shape.n_blocks == len(blocks)
    assert shape.positions == model.config.max_position_embeddings
    inputs = {
        part.weight.shape[1]
        for part in blocks.modules()
        if getattr(part, "weight", None) is not None and part.weight.ndim == 2
    }
    assert inputs <= set(shape.linear_inputs.values())


def test_sizes_are_known_under_other_names():
    shape = model_config.shape_of({"n_layer": 12, "n_embd": 768, "n_positions": 1024, "n_head": 12})
    assert (shape.n_blocks, shape.positions) == (12, 1024)


def test_supported_models_are_accepted():
    assert told("causal") == told("encoder") == told() == []
    assert told("causal", text_config=None, quantization_config=None, auto_map=None) == []
    assert told("causal", architectures=None) == []
    assert told("causal", vision_config=None) == []


def test_code_that_is_now_part_of_transformers_is_not_custom():
    """Phi-3's checkpoints still name the code that they once needed."""
    code = {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}
    phi = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}
    assert told("causal", **phi, auto_map=code) == []
    assert told("causal", **phi, auto_map={"AutoModel": "modeling_other.Phi3Model"})


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (None, {"quantization_config": {"quant_method": "awq", "bits": 4}}, "method awq"),
        (None, {"quantization_config": {"quant_method": "mxfp4"}}, "method mxfp4"),
        (None, {"quantization_config": {"load_in_8bit": True}}, "quantized already"),
        (None, {"compression_config": {"quant_method": "sparseml"}}, "method sparseml"),
        (None, {"auto_map": {"AutoModel": "owner/code--modeling_x.Bert"}}, "modeling_x.py"),
        (None, {"model_type": "rwkv"}, "'rwkv' is not known; known are"),
        (None, {"model_type": None}, "None is not known"),
        (None, {"model_type": "llava", "text_config": {"model_type": "llama"}}, "llava, .*more"),
        (None, {"vision_config": {}}, "vision_config"),
        (None, {"max_position_embeddings": None}, "max_position_embeddings: null"),
        (None, {"num_hidden_layers": 0}, "num_hidden_layers: 0"),
        (None, {"hidden_size": "24"}, 'hidden_size: "24"'),
        (None, {"is_encoder_decoder": True}, "an encoder and a decoder"),
        (None, {"architectures": ["LlamaForSequenceClassification"]}, "a special head"),
        ("encoder", {"architectures": ["LlamaForTokenClassification"]}, "a special head"),
        ("causal", {"architectures": ["Qwen2ForRewardModel"]}, "a special head"),
        ("causal", {"architectures": ["LlamaModel"]}, "kind: encoder"),
        ("causal", {"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "an encoder"),
        ("causal", {"model_type": "bert", "architectures": None}, "an encoder"),
    ],
)  # fmt: skip
def test_unsupported_models_are_refused_with_the_reason(kind, changes, message):
    with pytest.raises(AssertionError, match=message):
        assert told(kind, **changes) == []


def test_linears_of_experts_have_their_own_input_sizes():
    """Sizes are those of the experts, not of a dense MLP that the blocks do not have."""
    config = AutoConfig.for_model("qwen3_moe", moe_intermediate_size=48, hidden_size=24)
    inputs = model_config.shape_of(config.to_dict()).linear_inputs
    assert inputs["moe_intermediate_size"] == 48
    assert config.intermediate_size not in inputs.values()
