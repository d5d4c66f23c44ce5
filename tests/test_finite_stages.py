"""A NaN or infinity planted at a stage stops there, and the message names stage, block and text."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from prunescope import export, influence, models, prompts, ranking, sampling, spaces, tracing
from prunescope.blockwise import Calibration, ColumnNorms
from prunescope.finite import NotFinite
from prunescope.hessians import Hessian, inverse_factor
from prunescope.lm_eval_adapter import VariantLM
from prunescope.methods import awq, magnitude, neuron, rtn, sparsegpt, wanda
from prunescope.schemas import TABLES
from tiny import make_tiny_model, tiny_model

CPU = torch.device("cpu")
BAD = (torch.nan, torch.inf, -torch.inf)
METHODS = (
    (wanda, {"sparsity": 0.5}),
    (wanda, {"pattern": "2:4"}),
    (neuron, {"sparsity": 0.5}),
    (awq, {"bits": 4, "group_size": 8}),
    (sparsegpt, {"sparsity": 0.5}),
    (magnitude, {"sparsity": 0.5}),
    (rtn, {"bits": 4, "group_size": 8}),
)
RARE = 7


def overflowing():
    """A float16 model in which one rare token overflows in the first MLP."""
    model = tiny_model("llama")
    model.model.embed_tokens.weight[RARE] = 65000.0
    model.model.layers[0].mlp.down_proj.weight *= 400
    return model.half()


def texts(generator, sequence):
    ids = torch.randint(10, 101, (16, 32), generator=generator)
    ids[sequence, 3] = RARE
    return ids


@pytest.mark.parametrize("sequence", [0, 9, 15])
@pytest.mark.parametrize(("method", "settings"), METHODS, ids=lambda value: str(value)[-30:])
def test_one_calibration_sequence_that_overflows_is_named(method, settings, sequence, generator):
    """First, middle or last; methods without statistics read an excerpt, the first sequence."""
    read = 0 if method in (rtn, magnitude) else sequence
    ids = texts(generator, read)
    with pytest.raises(NotFinite, match=rf"calibration sequence {read}\b.*float16") as refused:
        method.compress(overflowing(), Calibration(ids, tokens_together=64), **settings)
    assert "bfloat16 or float32" in str(refused.value)


@pytest.mark.parametrize("sequence", [0, 9, 15])
def test_influences_name_block_and_sequence(sequence, generator):
    with pytest.raises(NotFinite, match=rf"block 0, calibration sequence {sequence}: hidden"):
        influence.influences(overflowing(), texts(generator, sequence).split(4))


def test_a_zero_embedding_is_left_out_of_the_mean(generator):
    """All tokens but that one, as if it had not been asked: exact in the first sublayer."""
    model = tiny_model("llama")
    ids = torch.randint(10, 101, (4, 32), generator=generator)
    ids[0, -1] = 0  # the last of its text: no other token sees it
    model.model.embed_tokens.weight[0] = 0
    found = influence.influences(model, [ids]).to_pylist()
    rest = influence.influences(model, [ids[1:], ids[:1, :-1]]).to_pylist()
    assert found[0]["influence"] == pytest.approx(rest[0]["influence"], rel=1e-6)
    assert all(np.isfinite(row["influence"]) for row in found)


@pytest.mark.parametrize("bad", BAD)
def test_an_influence_that_is_no_number_ranks_nothing(bad):
    rows = [
        {"block": block, "sublayer": "attn", "influence": value, "n_tokens": 4}
        for block, value in enumerate((0.1, bad, 0.3))
    ]
    table = pa.Table.from_pylist(rows, schema=TABLES["influence"].schema)
    with pytest.raises(ValueError, match="influence of attn 1 is"):
        ranking.drop_least_influential(table, ("attn",), 1, "sublayer_drop")


@pytest.mark.parametrize("bad", BAD)
def test_statistics_of_inputs_are_refused(bad, generator):
    x = torch.randn(6, 8, generator=generator)
    x[2, 3] = bad
    norms, hessian = ColumnNorms(8, CPU), Hessian(8, CPU)
    norms.add(x)
    hessian.add(x)
    with pytest.raises(ValueError, match="finite"):
        norms.norms()
    with pytest.raises(ValueError, match="finite"):
        inverse_factor(hessian.matrix())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_decoded_step_names_prompt_and_step(bad):
    """-inf is a token that is never chosen; a row of nothing else has no likeliest token."""
    noise = sampling.SharedNoise([("one", 0.0), ("two", 0.0)], 0, 3)
    z = torch.zeros(2, 5)
    z[:, 1] = -torch.inf
    noise(torch.zeros(2, 4, dtype=torch.long), z)
    z[1, 2] = bad
    with pytest.raises(NotFinite, match="prompt two, step 1: logits"):
        noise(torch.zeros(2, 4, dtype=torch.long), z)
    with pytest.raises(NotFinite, match="prompt one"):
        noise(torch.zeros(2, 4, dtype=torch.long), torch.full((2, 5), -torch.inf))


def broken(folder):
    """A folder whose model gives NaN for every text."""
    model = models.load(folder, "float32", CPU)
    model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    return model


@pytest.fixture
def folder(tmp_path):
    return make_tiny_model(tmp_path / "m")


def test_answers_of_a_broken_model_are_refused(folder):
    asked = [prompts.Asked("mine", 0.0, [5, 6])]
    with pytest.raises(NotFinite, match="prompt mine, step 0"):
        prompts.answers(broken(folder), models.load_tokenizer(folder), asked, 3, 0)


@pytest.mark.parametrize("shared", [True, False])
def test_log_likelihoods_of_tasks_name_the_item(folder, shared):
    """By way of shared contexts and by lm-eval's own."""
    lm = VariantLM(broken(folder), models.load_tokenizer(folder), 4)
    asked = [(("the sea", text), [5, 6], [7]) for text in (" one", " two")[: 1 + shared]]
    with pytest.raises(NotFinite, match="log-likelihoods of ' one' after 'the sea'"):
        lm._loglikelihood_tokens(asked)


@pytest.mark.parametrize("bad", BAD)
def test_traces_refuse_states_and_logits(bad, generator):
    model = tiny_model("llama")
    dense = torch.randn(4, 7, 24, generator=generator)
    dense[2, 3, 1] = bad
    with pytest.raises(NotFinite, match="hidden states"):
        tracing.statistics(dense, {}, range(6), spaces.output_of(model), [1.0], 64)
    dense[2, 3, 1] = 0
    model.lm_head.weight[5, 0] = bad
    with pytest.raises(NotFinite, match="logits"):
        tracing.statistics(dense, {}, range(6), spaces.output_of(model), [1.0], 64)


def test_the_proof_of_an_export_is_not_fooled_by_nan(folder, tmp_path):
    """NaN against NaN is no equality."""
    model = broken(folder)
    model.save_pretrained(tmp_path / "x")
    models.load_tokenizer(folder).save_pretrained(tmp_path / "x")
    with pytest.raises(ValueError, match="logits of the variant are not finite"):
        export.prove(tmp_path / "x", model, models.load_tokenizer(folder), ["the sea"])
