"""A model that computes what its configuration says passes; any other is detected."""

import json
import math
import re

import pyarrow.parquet as pq
import pytest
import torch

import check_model
from prunescope.checking import model_check
from prunescope.machine import attention, products
from prunescope.model import loading
from prunescope.progress import JobError
from tiny import ARCHITECTURES, EMBEDDERS, make_tiny_model, tiny_model

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def ready(architecture, kind="causal", **settings):
    return attention.use(products.use(tiny_model(architecture, kind=kind, **settings)))


@pytest.fixture
def text(generator):
    return torch.randint(10, 101, (model_check.TOKENS,), generator=generator).tolist()


def failed(checks):
    return [check.check for check in checks if not check.passed]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_passes_in_every_dtype(architecture, dtype, text):
    checks = model_check.structure(ready(architecture).to(dtype), text, "causal")
    assert len(checks) > 6
    assert not failed(checks)


@pytest.mark.parametrize("architecture", EMBEDDERS)
def test_every_embedding_model_passes(architecture, text):
    assert not failed(model_check.structure(ready(architecture, kind="encoder"), text, "encoder"))


def caught(model, text, what):
    """Whether a check whose name begins so fails, and says what to do."""
    checks = model_check.structure(model, text, "causal")
    found = [check for check in checks if not check.passed and check.check.startswith(what)]
    return bool(found) and all(check.remedy for check in found)


def test_an_undeclared_logit_scale_is_detected(text):
    """The model divides its logits, but its configuration has no entry that says so."""
    model = ready("llama")
    own = model.forward

    def scaled(*args, **kwargs):
        out = own(*args, **kwargs)
        out.logits = out.logits / 3
        return out

    model.forward = scaled
    assert caught(model, text, "logits")


def test_hidden_states_that_differ_from_block_outputs_are_detected(text, monkeypatch):
    """The model shifts its hidden states after its blocks have returned them."""
    model = ready("llama")
    own = type(model.model).forward

    def shifted(*args, **kwargs):
        out = own(*args, **kwargs)
        if out.hidden_states is not None:
            out.hidden_states = tuple(state + 0.1 for state in out.hidden_states)
        return out

    monkeypatch.setattr(type(model.model), "forward", shifted)
    assert caught(model, text, "hidden states")


def test_rotary_factors_that_depend_on_the_length_are_detected(text):
    """As in dynamic NTK and LongRoPE: one distant token changes the rotation of all others."""
    model = ready("llama")
    rotary = model.model.rotary_emb
    own = rotary.forward

    def by_length(x, position_ids):
        cos, sin = own(x, position_ids)
        return (cos, sin) if int(position_ids.max()) < 256 else (sin, cos)

    rotary.forward = by_length
    assert caught(model, text, "positions")


def test_attention_with_a_wrong_scale_is_detected(text, monkeypatch):
    """Our attention function is called with a scale that is not the model's."""
    monkeypatch.setattr(
        attention, "causal_attention", lambda q, k, v, _: q.new_zeros(*q.transpose(1, 2).shape)
    )
    assert caught(ready("llama"), text, "attention")


def test_a_nan_fails_every_check_it_reaches(text):
    """A comparison with NaN never counts as a small difference."""
    model = ready("llama")
    model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    assert "hidden states" in failed(model_check.structure(model, text, "causal"))[0]
    assert not model_check.finite_weights(model).passed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_weight_that_is_not_finite_is_found_wherever_it_stands(dtype, value):
    model = tiny_model("llama").to(dtype)
    for place in (0, 13, -1):
        weight = model.model.layers[2].mlp.down_proj.weight.view(-1)
        before, weight[place] = weight[place].item(), value
        check = model_check.finite_weights(model)
        assert check.measured == 1
        assert "layers.2.mlp.down_proj" in check.remedy
        weight[place] = before
    assert model_check.finite_weights(model).passed


def test_weights_that_overflow_in_float16_are_named():
    model = tiny_model("llama")
    model.model.layers[1].mlp.down_proj.weight.mul_(1e7)
    assert model_check.finite_weights(model).passed
    check = model_check.finite_weights(model.half())
    assert not check.passed
    assert "layers.1.mlp.down_proj" in check.remedy
    assert "bfloat16" in check.remedy


def test_tokens_without_an_embedding_are_counted():
    model = tiny_model("llama", vocabulary=101)
    assert model_check.vocabulary(model, 101).passed
    assert model_check.vocabulary(model, 104).measured == 3
    assert not model_check.vocabulary(model, 104).passed


@pytest.mark.parametrize("kept_bytes", [0, 10_000, 10**9])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_temporary_float32_is_undone_exactly(dtype, tied, kept_bytes, text, monkeypatch):
    """Equal to a model converted as a whole, and every parameter back to the bit.

    This holds whether no copy is kept between passes, some are, or all.
    """
    monkeypatch.setattr(model_check, "KEPT_BYTES", kept_bytes)
    model = tiny_model("qwen2", tie_word_embeddings=tied).to(dtype)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids = torch.tensor([text])
    with torch.inference_mode(), model_check.in_float32(model):
        wide = model(ids, use_cache=False).logits
        kept = [p for p in model.parameters() if p.dtype == torch.float32]
        assert torch.equal(wide, model(ids, use_cache=False).logits)
    assert wide.dtype == torch.float32
    if dtype != torch.float32:
        assert sum(4 * parameter.numel() for parameter in kept) <= kept_bytes
        assert bool(kept) == (kept_bytes > 0)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert torch.equal(wide, model.float()(ids, use_cache=False).logits)


@pytest.mark.parametrize("architecture", ["mixtral", "llama"])
def test_a_router_tie_is_tolerated_only_in_models_with_experts(monkeypatch, text, architecture):
    """A failure on a single text is a tie if the model has experts; otherwise it is an error."""
    own = model_check._structure_checks

    def failing_on(texts):
        def structure(model, token_ids, kind):
            checks = own(model, token_ids, kind)
            fails = list(token_ids) in texts
            return [checks[0]._replace(measured=math.nan if fails else 0), *checks[1:]]

        return structure

    for texts, passes in (
        ([], True),
        ([text], architecture == "mixtral"),
        ([text, text[::-1]], False),
    ):
        monkeypatch.setattr(model_check, "_structure_checks", failing_on(texts))
        found = model_check.structure(ready(architecture), text, "causal")
        assert (model_check.failures(found[:1]) == "") == passes


def test_attention_windows_are_narrowed_temporarily(text):
    model = ready("mistral", sliding_window=64)
    with model_check.narrow_windows(model):
        assert model.config.sliding_window == model_check.WINDOW
    assert model.config.sliding_window == 64


def test_the_noise_floor_grows_with_rounding(text):
    """Eight binary digits are coarser than eleven; in float32 the model equals itself."""
    floors = {}
    for dtype in DTYPES:
        rows = model_check.noise_floor(ready("llama").to(dtype), text).to_pylist()
        own = [row for row in rows if row["readout"] is None and row["space"] == "probability"]
        floors[dtype] = {row["comparison"]: row["max_kl_divergence"] for row in own}
        written = {(r["readout"], r["block"], r["sublayer"], r["space"]) for r in rows} - {
            (None, None, None, space) for space in ("embedding", "logit", "probability")
        }
        assert len(written) == 2 * 3 * 2 * 3  # readouts, blocks, sublayers, spaces
    exact, coarse, fine = (floors[dtype] for dtype in DTYPES)
    assert "against float32" not in exact
    assert 1e-9 < fine["against float32"] < coarse["against float32"]
    assert all(value < 1e-9 for value in exact.values())


def test_a_large_model_reads_fewer_tokens_for_its_noise_floor(text, monkeypatch):
    """Every position of every text counts: 48 of the whole and 24 of its half, or half as many."""

    def n_positions():
        rows = model_check.noise_floor(ready("llama"), text).to_pylist()
        return {r["comparison"]: r["n_positions"] for r in rows if r["readout"] is None}

    cached, batched = "one pass against decoding with a cache", "alone against in a batch"
    assert n_positions() == {cached: 9, batched: 48 + 24}
    monkeypatch.setattr(model_check, "LARGE", 1000)
    assert n_positions() == {cached: 9, batched: 24 + 12}


def test_texts_are_repeated_until_there_are_enough_tokens():
    assert model_check.encoded(lambda text: [len(text)], ["a", "bb"], 5) == [1, 2, 1, 2, 1]


def checked(folder, tmp_path, **settings):
    files = [str(tmp_path / name) for name in ("check", "noise", "surprisal")]
    chosen = {"dtype": "float32", "kind": "causal", "threads": 1, "made_by": {}} | settings
    check_model.check_model(str(folder), *files, **chosen)
    return [pq.read_table(file) for file in files]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_script_writes_its_tables_reproducibly(tmp_path, dtype):
    folder = make_tiny_model(tmp_path / "m", "qwen2")
    checks, noise, surprisal = checked(folder, tmp_path, dtype=dtype)
    assert all(checks["passed"].to_pylist())
    assert set(noise["dtype"].to_pylist()) == {dtype}
    assert surprisal.num_rows == 1
    assert checked(folder, tmp_path, dtype=dtype) == [checks, noise, surprisal]


def test_an_encoder_has_no_decoding_noise(tmp_path):
    folder = make_tiny_model(tmp_path / "m")
    checks, *others = checked(folder, tmp_path, kind="encoder")
    assert checks.num_rows > 3
    assert [table.num_rows for table in others] == [0, 0]


def test_a_model_that_fails_the_check_writes_no_table(tmp_path):
    folder = make_tiny_model(tmp_path / "m")
    model = loading.load(folder, "float32", torch.device("cpu"))
    model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.inf
    model.save_pretrained(folder)
    with pytest.raises(JobError, match=re.escape("parameters that hold NaN or infinity: 1")):
        checked(folder, tmp_path)
    assert not (tmp_path / "check").exists()


def test_a_tokenizer_with_more_tokens_than_embeddings_is_told_before_the_model_runs(tmp_path):
    """Its texts hold tokens for which there is no row; the message is ours, not an index error."""
    folder = make_tiny_model(tmp_path / "m")
    model = loading.load(folder, "float32", torch.device("cpu"))
    model.resize_token_embeddings(200)
    model.save_pretrained(folder)
    with pytest.raises(JobError, match=r"tokenizer.json has \d+ tokens, but the embedding has 200"):
        checked(folder, tmp_path)


def test_a_padding_token_without_an_embedding_does_no_harm(tmp_path):
    """Many fine-tuned models name one in tokenizer_config.json alone."""
    folder = make_tiny_model(tmp_path / "m")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pad_token": "[PAD]"}))
    checks, *_ = checked(folder, tmp_path)
    assert all(checks["passed"].to_pylist())
