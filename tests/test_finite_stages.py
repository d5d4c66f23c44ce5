"""A NaN or infinity stops the stage that gets it; the message names stage, block and text."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from prunescope.compression import export_proof, influence, masks, quantization, ranking
from prunescope.compression.blockwise import Calibration, ColumnNorms
from prunescope.compression.hessians import Hessian, inverse_factor
from prunescope.compression.methods import awq, magnitude, neuron, rtn, sparsegpt, wanda
from prunescope.evaluation import retrieval
from prunescope.evaluation.matched_formats import Item, choice_rows
from prunescope.evaluation.variant_lm import VariantLM
from prunescope.finite import NotFinite
from prunescope.machine import runtime
from prunescope.measures import fused, metrics
from prunescope.model import edits, loading, prompts, sampling, unembedding
from prunescope.model.variant import Variant
from prunescope.progress import JobError
from prunescope.tables.schemas import TABLES
from prunescope.theory.deviations import deviations
from prunescope.tracing import attention_error, costs, decoding, histories, sublayer_traces
from prunescope.tracing.agreement import agreement
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
def test_a_calibration_sequence_that_overflows_is_named(method, settings, sequence, generator):
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
    """All other tokens count as if it had not been requested: exact in the first sublayer."""
    model = tiny_model("llama")
    ids = torch.randint(10, 101, (4, 32), generator=generator)
    ids[0, -1] = 0  # the last of its text: no other token sees it
    model.model.embed_tokens.weight[0] = 0
    found = influence.influences(model, [ids]).to_pylist()
    rest = influence.influences(model, [ids[1:], ids[:1, :-1]]).to_pylist()
    assert found[0]["influence"] == pytest.approx(rest[0]["influence"], rel=1e-6)
    assert all(np.isfinite(row["influence"]) for row in found)


@pytest.mark.parametrize("bad", BAD)
def test_influences_with_nan_are_not_ranked(bad):
    rows = [
        {"block": block, "sublayer": "attn", "influence": value, "n_tokens": 4}
        for block, value in enumerate((0.1, bad, 0.3))
    ]
    table = pa.Table.from_pylist(rows, schema=TABLES["influence"].schema)
    with pytest.raises(ValueError, match="influence of attn 1 is"):
        ranking.drop_least_influential(table, ("attn",), 1, "sublayer_drop")


@pytest.mark.parametrize("bad", BAD)
def test_input_statistics_that_are_not_finite_are_refused(bad, generator):
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
def test_errors_of_decoding_name_prompt_and_step(bad):
    """A logit of -inf is a token that is never chosen; a row of only -inf has no argmax."""
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
    model = loading.load(folder, "float32", CPU)
    model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    return model


@pytest.fixture
def folder(tmp_path):
    return make_tiny_model(tmp_path / "m")


def test_answers_of_a_broken_model_are_refused(folder):
    asked = [prompts.Asked("mine", 0.0, [5, 6])]
    with pytest.raises(NotFinite, match="prompt mine, step 0"):
        prompts.answers(broken(folder), loading.load_tokenizer(folder), asked, 3, 0)


@pytest.mark.parametrize("shared", [True, False])
def test_errors_of_log_likelihoods_name_the_item(folder, shared):
    """With shared contexts and by lm-eval's own way."""
    lm = VariantLM(broken(folder), loading.load_tokenizer(folder), 4)
    asked = [(("the sea", text), [5, 6], [7]) for text in (" one", " two")[: 1 + shared]]
    with pytest.raises(NotFinite, match="log-likelihoods of ' one' after 'the sea'"):
        lm._loglikelihood_tokens(asked)


@pytest.mark.parametrize("bad", BAD)
def test_traces_refuse_states_and_logits_that_are_not_finite(bad, generator):
    model = tiny_model("llama")
    dense = torch.randn(4, 7, 24, generator=generator)
    dense[2, 3, 1] = bad
    with pytest.raises(NotFinite, match="hidden states"):
        sublayer_traces.statistics(dense, {}, range(6), unembedding.output_of(model), [1.0], 64)
    dense[2, 3, 1] = 0
    model.lm_head.weight[5, 0] = bad
    with pytest.raises(NotFinite, match="logits"):
        sublayer_traces.statistics(dense, {}, range(6), unembedding.output_of(model), [1.0], 64)


def test_an_export_with_nan_is_refused(folder):
    """NaN compared with NaN does not count as equal."""
    model, tokenizer = broken(folder), loading.load_tokenizer(folder)
    models = export_proof.Models(exported=model, written=model, variant=model)
    with pytest.raises(ValueError, match="differs from the variant"):
        export_proof.prove(models, tokenizer, tokenizer, ["the sea"])


@pytest.mark.parametrize(("method", "settings"), METHODS[:5], ids=lambda value: str(value)[-30:])
@pytest.mark.parametrize("sequence", [0, 9, 15])
def test_inputs_within_the_last_block_are_checked(method, settings, sequence, generator):
    """No hidden state after it is used, and only a few of its tokens are sampled."""
    model = tiny_model("llama")
    ids = texts(generator, sequence)
    last = model.model.layers[2].mlp
    for linear in (last.gate_proj, last.up_proj):
        linear.weight *= 400
    with pytest.raises(
        NotFinite, match=r"block 2, calibration sequences? .*inputs of mlp.down_proj"
    ):
        method.compress(model.half(), Calibration(ids, tokens_together=64), **settings)


def test_errors_in_micro_batches_name_the_sequence(generator, monkeypatch):
    """Of one sequence each; the NaN appears in one of them, between two linears of a block.

    One after the other, because the NaN comes by count.
    """
    monkeypatch.setattr(runtime, "workers_for", lambda *_: 1)
    model = tiny_model("llama")
    ids = texts(generator, 9)[:, :8]
    model.model.layers[1].mlp.act_fn = _NanAt(9 * 8)
    with pytest.raises(
        NotFinite, match=r"block 1, calibration sequence 9: inputs of mlp\.down_proj"
    ):
        wanda.compress(model, Calibration(ids, tokens_together=8), sparsity=0.5)


class _NanAt(torch.nn.Module):
    """SiLU, and NaN for the token that comes after so many."""

    def __init__(self, tokens):
        super().__init__()
        self.left = tokens

    def forward(self, x):
        y = torch.nn.functional.silu(x)
        if 0 <= self.left < x.shape[0] * x.shape[1]:
            y.flatten(0, 1)[self.left] = torch.nan
        self.left -= x.shape[0] * x.shape[1]
        return y


def test_sums_before_the_norms_of_an_encoder_are_checked(generator):
    """The norm would hide an infinity in float16; the sum itself is checked."""
    model = tiny_model("bert", kind="encoder")
    model.encoder.layer[1].output.dense.bias[0] = torch.inf
    with pytest.raises(NotFinite, match="block 1, calibration sequence 0"):
        influence.influences(model, [torch.randint(10, 101, (2, 8), generator=generator)])


def test_tokens_without_a_direction_are_not_counted(generator):
    """`n_tokens` gives the number of tokens in the mean, in which large states count too."""
    model = tiny_model("llama")
    ids = torch.randint(10, 101, (4, 32), generator=generator)
    ids[0, -1] = 0
    model.model.embed_tokens.weight[0] = 0
    rows = influence.influences(model, [ids]).to_pylist()
    assert [row["n_tokens"] for row in rows[:4]] == [127, 128, 127, 128]

    h = torch.randn(3, 24, generator=generator)
    large = influence._unit_vectors((h * 1e25).bfloat16())
    assert torch.allclose(large, torch.nn.functional.normalize(h), atol=0.01)


@pytest.mark.parametrize("bad", BAD)
def test_ranking_and_rounding_refuse_nan(bad, generator):
    values = torch.randn(4, 32, generator=generator)
    values[1, 2] = bad
    for m in (4, 32):
        with pytest.raises(NotFinite, match="importances are not finite"):
            masks.keep_n_of_m(values, 2, m)
    with pytest.raises(NotFinite, match="weights are not finite"):
        quantization.min_max_grid(values, 4, 8)


@pytest.mark.parametrize("bad", BAD)
def test_an_edit_with_nan_is_refused(bad):
    model = tiny_model("llama")
    name = "model.layers.1.mlp.up_proj.weight"
    weight = model.get_parameter(name).clone()
    weight[2, 3] = bad
    with pytest.raises(NotFinite, match=rf"edit: weights {name} are not finite"):
        loading.apply_edit(model, edits.Edit(tensors={name: weight}))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("side", ["queries", "documents"])
def test_stored_embeddings_with_nan_are_refused(bad, side, generator):
    vectors = {
        "queries": torch.randn(3, 4, generator=generator),
        "documents": torch.randn(5, 4, generator=generator),
    }
    vectors[side][1, 2] = bad
    with pytest.raises(NotFinite, match="scores of queries from 0 on against documents from 0"):
        retrieval.search(vectors["queries"], [vectors["documents"]], [[0]] * 3, [None] * 3)


def test_a_log_likelihood_of_nan_chooses_no_candidate():
    items = [Item(i, "q", f"a{i}", (f"a{i}",)) for i in range(2)]
    with pytest.raises(JobError, match="item 0, multiple_choice: scores of its candidates"):
        list(choice_rows(items, [[0, 1], [1, 0]], [[-1.0, float("nan")], [-1.0, -2.0]]))


def _answer(tokens=(5, 6, 7)):
    return {
        "prompt": "mine",
        "kind": "open_ended",
        "text": "?",
        "sampling_temperature": 0.0,
        "prompt_token_ids": [11, 12, 13],
        "answer_token_ids": list(tokens),
    }


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_agreement_and_cost_of_a_broken_variant_are_refused(bad):
    """A single broken row of lm_head suffices."""
    dense, variant = tiny_model("llama"), tiny_model("llama")
    variant.lm_head.weight[5, 0] = bad
    with pytest.raises(NotFinite, match="prompt mine: logits"):
        agreement(dense, variant, [_answer()], 3)
    with pytest.raises(NotFinite, match="timed passes: logits"):
        costs.seconds(variant, torch.arange(10, 20), 2)


@pytest.mark.parametrize("table", ["trace", "shift"])
@pytest.mark.parametrize("bad", BAD)
def test_estimates_from_a_damaged_table_are_refused(table, bad, generator):
    """Either the measurements or the inputs of the estimates contain NaN."""
    model = tiny_model("llama")
    dense = torch.randn(2, 7, 24, generator=generator)
    found = sublayer_traces.statistics(dense, {}, range(6), unembedding.output_of(model), [1.0], 64)
    trace, shift = sublayer_traces.tables_of("p", range(6), found)
    name = {"trace": "angular_deviation", "shift": "var_p"}[table]
    rows = {"trace": trace, "shift": shift}
    values = [bad if value is not None else None for value in rows[table][name].to_pylist()]
    place = rows[table].column_names.index(name)
    rows[table] = rows[table].set_column(place, name, pa.array(values, pa.float64()))
    with pytest.raises(NotFinite, match=r"deviation: (measured|estimated) values of"):
        list(deviations(rows["trace"], rows["shift"], "deviation"))


def test_errors_of_attention_traces_name_prompt_and_block():
    model = tiny_model("llama")
    read = histories.run(model, torch.arange(10, 16))
    variant = {1: read.attended[1]._replace(value=read.attended[1].value * torch.nan)}
    with pytest.raises(NotFinite, match="prompt p, h, block 1: attention errors"):
        attention_error.as_table("p", "h", 2, read.attended, variant, read.scoring)


def test_vectors_of_zeros_have_a_defined_deviation(generator):
    """1 - cos with an inner product of 0 is 1, and equal vectors have 0. Kernels agree."""
    z = torch.randn(3, 50, generator=generator)
    z[1] = 0
    zeros = torch.zeros(1, 4)
    assert metrics.angular_deviation(zeros, zeros).tolist() == [0]
    assert metrics.angular_deviation(zeros + 1, zeros).tolist() == [1]
    assert metrics.angular_deviation(zeros, zeros + 1).tolist() == [1]
    assert metrics.geometry(z[:1], z[1:2] - z[:1]).angular_deviation.tolist() == [1]
    found = fused.compare(z, np.array([0, 0]), np.array([1, 2]), [1.0], 1)
    assert found.geometry.angular_deviation[0] == 1
    p, q = z[0].double().softmax(-1), torch.full((50,), 1 / 50)
    kl = (p * (p / q).log()).sum()
    assert found.probability_shift.kl_divergence[0, 0] == pytest.approx(float(kl), rel=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_identity_keeps_the_tokens_of_dense(folder, dtype):
    """Below float32 the traced pass may round to another token; the decoded one counts."""
    dense, tokenizer = loading.load(folder, dtype, CPU), loading.load_tokenizer(folder)
    dense.lm_head.weight.mul_(0.2)
    generator = torch.Generator().manual_seed(0)
    asked = [
        prompts.Asked(
            f"p{i}", t, torch.randint(10, 300, (4 + 3 * i,), generator=generator).tolist()
        )
        for i in range(6)
        for t in (0.0, 0.7)
    ]
    written = prompts.answers(dense, tokenizer, asked, 24, 0)
    edit = edits.Edit()
    variant = loading.apply_edit(dense, edit)
    assert prompts.answers(variant, tokenizer, asked, 24, 0) == written
    unembed, other = unembedding.output_of(dense), 0
    for one, tokens in zip(asked, written, strict=True):
        answer = {
            "prompt": one.prompt,
            "sampling_temperature": one.sampling_temperature,
            "prompt_token_ids": list(one.token_ids),
            "answer_token_ids": tokens,
        }
        at = decoding.states(dense, Variant(variant, edit), answer, tokens)
        compared = decoding.compare(at, unembed, answer, [1.0], 64, 0)
        rows = decoding.tables_of(answer, tokens, at, compared)["decoded_step"].to_pylist()
        assert len(rows) == 4 * len(tokens)
        assert all(row["variant_token"] == row["dense_token"] for row in rows)
        if one.sampling_temperature == 0:
            other += (unembed(at.dense).argmax(-1) != torch.tensor(tokens)).sum()
    assert dtype == "float16" or other > 0  # or this test shows nothing
