"""Histories in one pass equal decoding step by step with the caches that they name."""

import copy

import pytest
import torch

from prunescope.model import edits, loading
from prunescope.model.anatomy import anatomy_of, blocks_of
from prunescope.tracing import histories
from tiny import tiny_model

IDS = torch.randint(3, 100, (11,), generator=torch.Generator().manual_seed(4))
START = 6  # the last of seven prompt tokens

DROPS = [{"attn": (1,)}, {"mlp": (0,)}, {"block": (1,)}, {"attn": (0, 2), "mlp": (1,)}]


def _scaled(model):
    """An edit that halves every linear of blocks 0 and 2."""
    prefix = anatomy_of(model).blocks
    return edits.Edit(
        tensors={
            name: parameter * 0.5
            for name, parameter in model.named_parameters()
            if "proj" in name and not name.startswith(f"{prefix}.1.")
        }
    )


def _every_edit(model):
    return [_scaled(model), *(edits.Edit(dropped) for dropped in DROPS)]


def _masks():
    return torch.stack([of(len(IDS), START) for of in histories.ON_DENSE_TOKENS.values()])


def test_the_dense_pass_equals_that_of_the_model(model):
    """Our attention function gives the same final h."""
    expected = model.base_model(input_ids=IDS[None], use_cache=False).last_hidden_state
    torch.testing.assert_close(histories.run(model, IDS).h, expected)


def test_the_identity_changes_no_bit_under_any_history(model):
    """Mixing equal keys and values is exact."""
    dense = histories.run(model, IDS)
    variant = loading.apply_edit(model, edits.Edit())
    mixed = histories.run(variant, IDS, edits.Edit(), dense.attended, _masks())
    one = histories.run(variant, IDS, edits.Edit(), dense.attended, _masks()[-1:])
    assert torch.equal(one.h, dense.h)
    torch.testing.assert_close(mixed.h, dense.h.expand(3, -1, -1))
    assert all(torch.equal(h, mixed.h[0]) for h in mixed.h)


def test_teacher_forcing_is_the_variant_on_the_dense_tokens(model):
    for edit in _every_edit(model):
        variant = loading.apply_edit(model, edit)
        dense = histories.run(model, IDS)
        expected = variant.base_model(input_ids=IDS[None], use_cache=False).last_hidden_state[0]
        found = histories.run(variant, IDS, edit, dense.attended, _masks()).h[2]
        torch.testing.assert_close(found, expected)


def _stepped(dense_model, variant, edit, own_until):
    """h of each step's token, read with a cache whose positions after `own_until` are dense."""
    dropped = edit.dropped.get("block", ())
    places = [i for i in range(len(blocks_of(dense_model))) if i not in dropped]
    found = []
    for step in range(START, len(IDS)):
        dense_cache = dense_model(IDS[None, :step], use_cache=True).past_key_values
        cache = variant(IDS[None, :step], use_cache=True).past_key_values
        at = {
            id(block.get_submodule(anatomy_of(variant).attn)): place
            for place, block in zip(places, blocks_of(variant), strict=True)
        }
        for module in variant.modules():
            if id(module) in at and hasattr(module, "layer_idx"):
                dense_layer = dense_cache.layers[at[id(module)]]
                layer = cache.layers[module.layer_idx]
                size = layer.keys.shape[-2]
                first = step - size  # a sliding window forgets the earliest positions
                for kind in ("keys", "values"):
                    tensor = getattr(layer, kind).clone()
                    other = getattr(dense_layer, kind)
                    place = max(0, own_until + 1 - first)
                    tensor[:, :, place:] = other[:, :, place:]
                    setattr(layer, kind, tensor)
        out = variant.base_model(IDS[None, step : step + 1], past_key_values=cache)
        found.append(out.last_hidden_state[0, -1])
    return torch.stack(found)


@pytest.mark.parametrize(
    ("history", "own_until"), [("dense_cache", -1), ("prompt_perturbed", START)]
)
def test_mixed_histories_equal_decoding_with_a_mixed_cache(model, history, own_until):
    """The cache is that of transformers, filled by hand, one token at a time."""
    for edit in _every_edit(model):
        variant = loading.apply_edit(model, edit)
        dense = histories.run(model, IDS)
        mask = histories.ON_DENSE_TOKENS[history](len(IDS), START)[None]
        found = histories.run(variant, IDS, edit, dense.attended, mask).h[0, START:]
        expected = _stepped(model, copy.deepcopy(variant), edit, own_until)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_at_step_zero_only_the_dense_cache_differs(model):
    """There is only the prompt: prompt_perturbed and teacher_forced are equal."""
    edit = _scaled(model)
    variant = loading.apply_edit(model, edit)
    h = histories.run(variant, IDS, edit, histories.run(model, IDS).attended, _masks()).h
    assert torch.equal(h[1, START], h[2, START])
    assert not torch.allclose(h[0, START], h[2, START])


def test_blocks_before_an_edit_are_those_of_dense(model):
    """Only block 2 is edited: keys and values of blocks 0 and 1 are equal to the last bit."""
    prefix = anatomy_of(model).blocks
    later = {n: p * 0.5 for n, p in model.named_parameters() if n.startswith(f"{prefix}.2.mlp")}
    edit = edits.Edit(tensors=later)
    dense = histories.run(model, IDS)
    found = histories.run(loading.apply_edit(model, edit), IDS, edit)
    for block in (0, 1, 2):
        assert all(map(torch.equal, found.attended[block], dense.attended[block]))
    assert not torch.allclose(found.h, dense.h)


def test_the_attention_of_the_model_is_restored():
    model = tiny_model("llama")
    usual = model.config._attn_implementation
    histories.run(model, IDS)
    assert model.config._attn_implementation == usual
