"""Encoders without lm_head are captured, scored and edited according to their equations."""

import copy

import pytest
import torch

from prunescope.compression import influence
from prunescope.model import anatomy, capture, edits, loading
from tiny import EMBEDDERS, tiny_model

TOKENS = torch.tensor([[5, 17, 3, 99, 42, 8, 64]])
DROPS = [
    {"attn": (0,)},
    {"attn": (0, 2), "mlp": (1,)},
    {"block": (1,)},
    {"attn": (0, 1, 2), "mlp": (0, 1, 2)},
]
each_drop = pytest.mark.parametrize("dropped", DROPS, ids=str)


@pytest.fixture(params=EMBEDDERS)
def embedder(request):
    return tiny_model(request.param, kind="encoder").double()


@pytest.fixture
def bert():
    return tiny_model("bert", kind="encoder").double()


def bert_stream(model, token_ids, dropped):
    """Boundaries of BERT written out, and input + output of every sublayer before its norm."""
    h = model.embeddings(input_ids=token_ids)
    stream, sums = [h], []
    for index, block in enumerate(model.encoder.layer):
        if index in dropped.get("block", ()):
            continue
        attention = block.attention.output.dense(block.attention.self(h)[0])
        attention = attention * (index not in dropped.get("attn", ()))
        sums.append(h + attention)
        h = block.attention.output.LayerNorm(sums[-1])
        stream.append(h)
        mlp = block.output.dense(block.intermediate(h)) * (index not in dropped.get("mlp", ()))
        sums.append(h + mlp)
        h = block.output.LayerNorm(sums[-1])
        stream.append(h)
    return stream, sums


def test_boundaries_equal_output_hidden_states(embedder):
    dense, _ = capture.residuals(embedder, TOKENS[0], start=2)
    states = embedder(TOKENS, output_hidden_states=True).hidden_states
    assert dense.shape == (5, 7, 24)
    for block in range(3):
        torch.testing.assert_close(dense[:, 2 * block], states[block][0, 2:])
    norm = getattr(embedder, "norm", torch.nn.Identity())
    torch.testing.assert_close(norm(dense[:, -1]), states[-1][0, 2:])


def test_bert_boundaries_follow_its_equations(bert):
    stream, _ = bert_stream(bert, TOKENS, {})
    dense, _ = capture.residuals(bert, TOKENS[0], start=0)
    torch.testing.assert_close(dense, torch.stack(stream, dim=2)[0])


@each_drop
def test_a_dropped_sublayer_of_bert_leaves_residual_and_norm(bert, dropped):
    """Without its output the norm gets h alone; a dropped block leaves nothing."""
    expected = bert_stream(bert, TOKENS, dropped)[0][-1]
    variant = loading.apply_edit(bert, edits.Edit(dropped=dropped))
    torch.testing.assert_close(variant(TOKENS).last_hidden_state, expected)


@each_drop
def test_dropping_equals_setting_output_weights_to_zero(embedder, dropped):
    """In a model made by hand, the last linear of a dropped sublayer has zero weights."""
    body = anatomy.anatomy_of(embedder)
    by_hand = copy.deepcopy(embedder)
    blocks = anatomy.blocks_of(by_hand)
    for sublayer in anatomy.SUBLAYERS:
        for index in dropped.get(sublayer, ()):
            for parameter in blocks[index].get_submodule(body.sublayers[sublayer].out).parameters():
                parameter.zero_()
    by_hand.set_submodule(
        body.blocks,
        torch.nn.ModuleList(b for i, b in enumerate(blocks) if i not in dropped.get("block", ())),
    )
    by_hand.config.num_hidden_layers = len(anatomy.blocks_of(by_hand))
    variant = loading.apply_edit(embedder, edits.Edit(dropped=dropped))
    found, expected = (m(TOKENS, use_cache=False).last_hidden_state for m in (variant, by_hand))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, embedder(TOKENS, use_cache=False).last_hidden_state)


def test_dropped_sublayers_compute_no_products(bert):
    variant = loading.apply_edit(bert, edits.Edit(dropped={"attn": (0, 2), "mlp": (1,)}))
    names = [n for n, m in variant.encoder.named_modules() if isinstance(m, torch.nn.Linear)]
    assert len(names) == 3 * 6 - 2 * 4 - 2


def test_influences_of_bert_are_measured_before_the_norm(bert, generator):
    """For sublayers 1 - cos(x, x + f(x)), as the norm stays; for blocks, input and output."""
    token_ids = torch.randint(3, 100, (4, 9), generator=generator)
    stream, sums = bert_stream(bert, token_ids, {})
    similar = torch.nn.functional.cosine_similarity
    for row in influence.influences(bert, token_ids.split(3)).to_pylist():
        s = 2 * row["block"] + (row["sublayer"] == "mlp")
        end = stream[s + 2] if row["sublayer"] == "block" else sums[s]
        expected = 1 - similar(stream[s], end, dim=-1).mean()
        assert row["influence"] == pytest.approx(float(expected), rel=1e-6)


def test_every_parameter_of_a_block_belongs_to_a_sublayer(embedder):
    """Except for the norms of the residual stream."""
    body = anatomy.anatomy_of(embedder)
    names = [name for name, _ in anatomy.blocks_of(embedder)[0].named_parameters()]
    free = [name for name in names if body.sublayer_of(name) is None]
    stays = [name for name in names if name.startswith(("attention.output.L", "output.L"))]
    assert free == stays


def test_an_embedding_model_has_no_logits(embedder):
    with pytest.raises(ValueError, match="makes embeddings, not logits"):
        anatomy.lm_head_of(embedder)


def test_models_are_loaded_by_their_kind(embedder, tmp_path):
    """Hidden states are those of the saved model, and there is no random lm_head."""
    embedder.save_pretrained(tmp_path)
    loaded = loading.load(tmp_path, "float32", torch.device("cpu"), kind="encoder").double()
    for output in (loaded, embedder):
        output.config.use_cache = False
    torch.testing.assert_close(loaded(TOKENS).last_hidden_state, embedder(TOKENS).last_hidden_state)


@pytest.mark.parametrize("padding", [0, 1, 7])
@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta"])
def test_a_text_of_as_many_tokens_as_positions_is_read_and_a_longer_one_is_not(name, padding):
    """RoBERTa counts from the padding token's id on: of 514 positions, 512 can be used."""
    settings = {"max_position_embeddings": 40, "pad_token_id": padding}
    model = tiny_model(name, kind="encoder", **settings)
    positions = loading.positions_of(model.config.to_dict())
    assert positions == (40 if name == "bert" else 40 - padding - 1)
    text = torch.full((1, positions + 1), 9)
    assert model(text[:, 1:]).last_hidden_state.isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        model(text)


def test_positions_of_roberta_without_a_padding_token_in_its_config():
    """transformers' default is token 1."""
    settings = {"model_type": "xlm-roberta", "max_position_embeddings": 514}
    assert loading.positions_of(settings) == 512
