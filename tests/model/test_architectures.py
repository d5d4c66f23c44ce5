"""Special architectures: experts, capped logits, rotary factors by length, mixed windows."""

import itertools

import pytest
import torch

from prunescope.checking import model_check
from prunescope.compression import blockwise, methods
from prunescope.compression.blockwise import Calibration
from prunescope.machine import attention, products
from prunescope.model import capture, edits, loading, prompts, unembedding
from prunescope.tracing import histories, sublayer_traces
from tiny import ARCHITECTURES, CAPPED, DROPPABLE, make_tiny_model, tiny_model

CPU = torch.device("cpu")
WEIGHT_METHODS = {
    "wanda": {"sparsity": 0.5},
    "sparsegpt": {"sparsity": 0.5},
    "magnitude": {"sparsity": 0.5},
    "neuron": {"sparsity": 0.5},
    "rtn": {"bits": 4, "group_size": 8},
    "awq": {"bits": 4, "group_size": 8},
}


def ready(architecture, **settings):
    return attention.use(products.use(tiny_model(architecture, **settings)))


@pytest.fixture
def ids(generator):
    return torch.randint(10, 101, (40,), generator=generator)


@pytest.mark.parametrize("architecture", [*DROPPABLE, *CAPPED])
def test_the_model_check_passes(architecture, generator):
    text = torch.randint(10, 101, (96,), generator=generator).tolist()
    checks = model_check.structure(ready(architecture), text, "causal")
    assert not [check for check in checks if not check.passed]


@pytest.mark.parametrize("architecture", DROPPABLE)
@pytest.mark.parametrize("method", WEIGHT_METHODS)
def test_methods_refuse_models_with_unreachable_matrices(architecture, method, ids):
    """By name and before calibration: 50 % of half the weights is not 50 % of the model."""
    with pytest.raises(ValueError, match=rf"{architecture} keeps .* in no nn\.Linear"):
        methods.load(method)(
            tiny_model(architecture), Calibration(ids[None]), **WEIGHT_METHODS[method]
        )


@pytest.mark.parametrize("architecture", CAPPED)
@pytest.mark.parametrize("method", WEIGHT_METHODS)
def test_every_linear_can_be_compressed(architecture, method, ids):
    """The variant is finite, and its decoding equals its trace."""
    model = ready(architecture)
    edit, report = methods.load(method)(model, Calibration(ids[None]), **WEIGHT_METHODS[method])
    assert report.num_rows == 3 * (3 if method == "neuron" else 7)
    assert_decoded(loading.apply_edit(model, edit), ids)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *CAPPED])
def test_matrices_of_a_block_are_the_weights_of_its_linears(architecture):
    """Matrices of a block are the weights of its linears, all of them."""
    model = tiny_model(architecture)
    assert blockwise.matrices_outside_linears(model) == []
    blocks = model.model.layers
    linears = [module for module in blocks.modules() if isinstance(module, torch.nn.Linear)]
    assert len([p for p in blocks.parameters() if p.ndim > 1]) == len(linears)


DROPS = ({"attn": (1,)}, {"mlp": (0, 2)}, {"block": (1,)}, {"attn": (0, 1, 2)})


@pytest.mark.parametrize("dropped", DROPS, ids=str)
@pytest.mark.parametrize("architecture", [*DROPPABLE, *CAPPED])
def test_decoding_with_dropped_sublayers_equals_one_pass(architecture, dropped, ids):
    """Step by step with a cache, the variant gives the logits of a single pass."""
    variant = loading.apply_edit(ready(architecture), edits.Edit(dropped))
    assert_decoded(variant, ids)


def assert_decoded(variant, ids):
    with torch.inference_mode():
        whole = variant(ids[None], use_cache=False).logits[0]
        out = variant(ids[None, :20], use_cache=True)
        steps = [out.logits[0, -1]]
        for place in range(20, 39):
            past = out.past_key_values
            out = variant(ids[None, place : place + 1], past_key_values=past, use_cache=True)
            steps.append(out.logits[0, -1])
    assert torch.allclose(torch.stack(steps), whole[19:39], atol=1e-4)


@pytest.mark.parametrize("architecture", [*DROPPABLE, *CAPPED])
def test_the_trace_of_a_dropped_sublayer_equals_the_edited_model(architecture, ids):
    """Statistics at its boundary, for each sublayer."""
    model = ready(architecture)
    dense, _ = capture.residuals(model, ids, 20)
    for sublayer, block in itertools.product(("attn", "mlp"), range(3)):
        variant = loading.apply_edit(model, edits.Edit({sublayer: (block,)}))
        after, _ = capture.residuals(variant, ids, 20)
        place = 2 * block + (sublayer == "mlp")
        assert torch.allclose(after[:, place + 1], dense[:, place], atol=1e-5)
    unembed = unembedding.output_of(model)
    found = sublayer_traces.statistics(dense, {}, range(6), unembed, [1.0], 64)
    deviations = [each.angular_deviation for each in (found.h, found.z, found.p)]
    assert all(values.isfinite().all() for values in deviations)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *CAPPED, *DROPPABLE])
def test_logits_of_the_last_boundary_are_those_of_the_model(architecture, ids):
    """The readout is the one with the final norm."""
    model = ready(architecture)
    with torch.inference_mode():
        z = model(ids[None], use_cache=False).logits[0]
        stream, _ = capture.residuals(model, ids, 0)
        read = unembedding.readout_of(model, final_norm=True)(stream[:, -1])
    assert torch.allclose(read, z, atol=1e-4)


@pytest.mark.parametrize(("cap", "final"), [(None, None), (50.0, 30.0), (1.0, 2.0)])
def test_traces_include_capped_logits(cap, final, ids):
    model = ready("gemma2", attn_logit_softcapping=cap, final_logit_softcapping=final)
    with torch.inference_mode():
        own = model(ids[None], use_cache=False).logits[0]
        h = histories.run(model, ids).h[0]
    assert torch.allclose(unembedding.output_of(model)(h), own, atol=1e-4)
    if final is not None:
        assert own.abs().max() <= final


def test_attention_with_sinks_is_refused_by_name(ids):
    """No trace includes a learned additional column of the softmax."""
    model = ready("llama")
    own = type(model.model.layers[0].self_attn).forward

    def with_sinks(module, *args, **kwargs):
        return own(module, *args, s_aux=torch.zeros(4), **kwargs)

    for layer in model.model.layers:
        layer.self_attn.forward = with_sinks.__get__(layer.self_attn)
    with pytest.raises(ValueError, match="s_aux, which traces do not support"):
        histories.run(model, ids)


FULL, SLIDING = "full_attention", "sliding_attention"
KINDS = ([FULL, SLIDING, SLIDING], [SLIDING, FULL, SLIDING], [SLIDING, SLIDING, FULL])
SUBSETS = [c for n in range(1, 4) for c in itertools.combinations(range(3), n)]


@pytest.mark.parametrize("dropped", SUBSETS, ids=str)
@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: kinds[0] + kinds[1])
def test_any_attention_can_be_dropped_from_mixed_windows(kinds, dropped, ids):
    """The cache counts positions even if no attention of the first kind remains."""
    model = ready("qwen2", use_sliding_window=True, sliding_window=8, layer_types=list(kinds))
    assert_decoded(loading.apply_edit(model, edits.Edit({"attn": dropped})), ids)


def test_a_cache_entry_that_only_counts_has_two_bytes_per_position(ids):
    model = ready("qwen2", use_sliding_window=True, sliding_window=8, layer_types=KINDS[0])
    variant = loading.apply_edit(model, edits.Edit({"attn": (0,)}))
    cache = variant(ids[None], use_cache=True).past_key_values
    assert cache.get_seq_length() == len(ids)
    assert cache.layers[0].keys.nbytes == cache.layers[0].values.nbytes == len(ids)


LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 3,
    "long_factor": [4.0, 9.0, 30.0],
    "original_max_position_embeddings": 32,
    "factor": 128.0,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 8.0}


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        (
            "phi3",
            {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32}
            | {"max_position_embeddings": 4096},
        ),
        ("llama", {"rope_parameters": DYNAMIC, "max_position_embeddings": 32}),
    ],
)
def test_rotary_factors_are_those_of_short_texts(tmp_path, architecture, settings):
    """For one text, beside a longer one, and across the limit: one pass equals decoding."""
    folder = make_tiny_model(tmp_path / "m", architecture, **settings)
    assert loading.longest(folder) == 32
    model, tokenizer = loading.load(folder, "float32", CPU), loading.load_tokenizer(folder)
    short, long = [5, 6, 7, 8, 9, 10], list(range(20, 80))
    asked = [prompts.Asked("short", 0.0, short), prompts.Asked("long", 0.0, long)]
    alone = prompts.answers(model, tokenizer, asked[:1], 30, 0)[0]
    assert prompts.answers(model, tokenizer, asked, 30, 0)[0] == alone
    read = torch.tensor([short + alone[:-1]])
    assert model(read).logits[0, len(short) - 1 :].argmax(-1).tolist() == alone


def test_rotary_factors_of_short_texts_equal_those_of_transformers(tmp_path, ids):
    """Logits of transformers' model are equal if the text stays below the limit."""
    from transformers import AutoModelForCausalLM

    settings = {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32}
    folder = make_tiny_model(tmp_path / "m", "phi3", max_position_embeddings=4096, **settings)
    stock = AutoModelForCausalLM.from_pretrained(folder)
    text = ids[None, :32]
    model = loading.load(folder, "float32", CPU)
    assert torch.allclose(model(text).logits, stock(text).logits, atol=1e-5)
