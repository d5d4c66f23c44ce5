"""Sizes are compared with sizes counted by hand, and speeds with the passes that ran."""

import math

import pytest
import torch

from prunescope.model import anatomy, edits, loading
from prunescope.model.replacements import Masked
from prunescope.tracing import costs
from tiny import tiny_model

TOKENS = torch.arange(3, 40)
DOWN = "model.layers.{}.mlp.down_proj.weight"


def _llama(**settings):
    return tiny_model("llama", **settings)


def test_a_dropped_block_has_no_cost():
    """d 24, 4 heads and 2 key-value heads of 6, 40 neurons, two norms, counted by hand."""
    dense = _llama()
    variant = loading.apply_edit(dense, edits.Edit({"block": (1,)}))
    block = 24 * 24 + 2 * 12 * 24 + 24 * 24 + 3 * 24 * 40 + 2 * 24
    assert costs.n_parameters(dense) == 3 * block + 2 * 101 * 24 + 24
    assert costs.n_parameters(variant) == 2 * block + 2 * 101 * 24 + 24
    assert costs.n_stored_bytes(dense, variant, edits.Edit({"block": (1,)})) == 4 * (
        2 * block + 2 * 101 * 24 + 24
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tied_weights_count_once(dtype):
    dense = _llama(tie_word_embeddings=True).to(dtype)
    assert costs.n_parameters(_llama()) - costs.n_parameters(dense) == 101 * 24
    assert costs.n_bytes(dense) == dense.dtype.itemsize * costs.n_parameters(dense)


def test_zeros_are_not_counted_as_nonzero():
    """If half of a weight is zero, n_nonzero is less by that half; n_parameters is the same."""
    dense = _llama()
    keep = torch.ones(24, 40, dtype=torch.bool)
    keep[:, ::2] = False
    variant = loading.apply_edit(dense, edits.Edit(tensors={DOWN.format(1): Masked.by(keep)}))
    assert costs.n_parameters(variant) == costs.n_parameters(dense)
    assert costs.n_nonzero(variant) == costs.n_nonzero(dense) - 24 * 20


def test_packed_tensors_of_renumbered_blocks_count_as_packed():
    """A mask of 24·40 bits and half of the values at 4 bytes; block 2 is now the second."""
    dense = _llama()
    keep = torch.arange(24 * 40).view(24, 40) % 2 == 0
    packed = {DOWN.format(block): Masked.by(keep) for block in (0, 2)}
    edit = edits.Edit({"block": (0,)}, packed)
    without = edits.Edit({"block": (0,)})
    saved = costs.n_stored_bytes(dense, loading.apply_edit(dense, without), without)
    saved -= costs.n_stored_bytes(dense, loading.apply_edit(dense, edit), edit)
    assert saved == 4 * 24 * 40 - (24 * 40 / 8 + 4 * 24 * 40 / 2)


def test_replaced_tensors_of_dropped_blocks_are_not_counted():
    dense = _llama()
    edit = edits.Edit({"mlp": (1,)}, {DOWN.format(1): torch.ones(24, 40)})
    variant = loading.apply_edit(dense, edit)
    assert costs.n_stored_bytes(dense, variant, edit) == costs.n_bytes(variant)


@pytest.mark.parametrize(
    ("dropped", "left"), [({}, 3), ({"attn": (0, 2)}, 1), ({"block": (1,)}, 2), ({"mlp": (0,)}, 3)]
)
def test_the_cache_holds_keys_and_values_of_remaining_attention(model, dropped, left):
    """Keys and values of 2 heads of 6, 8 bytes per position, also with a sliding window."""
    variant = loading.apply_edit(model, edits.Edit(dropped))
    heads = 2 * 6
    assert costs.cache_bytes_per_token(variant, TOKENS) == left * 2 * heads * 8


def _lengths_read(model):
    """Collects how many tokens each pass of the model reads."""
    lengths = []
    anatomy.blocks_of(model)[0].register_forward_pre_hook(
        lambda _, args, kwargs: lengths.append((args or [kwargs["hidden_states"]])[0].shape[1]),
        with_kwargs=True,
    )
    return lengths


def test_decoding_is_timed_with_the_cache():
    """One pass over the prompt, then one token at a time."""
    model = _llama()
    lengths = _lengths_read(model)
    prefill, steps = costs.seconds(model, TOKENS, n_decoded=3)
    assert lengths == [len(TOKENS), 1, 1, 1]
    assert len(steps) == 3
    assert all(math.isfinite(time) and time > 0 for time in (prefill, *steps))


def test_models_run_in_turn_and_are_compared_within_a_run(monkeypatch):
    """A machine that is ten times slower for a while slows both models of a run, and no ratio."""
    order, busy = [], [1, 1, 10, 1, 1, 10, 10, 1, 1]

    def seconds(model, *_):
        slowness = busy[len(order) // 2]
        order.append(model)
        return {"dense": (slowness * 2.0, [slowness * 4.0] * 3), "variant": (slowness, [slowness])}[
            model
        ]

    monkeypatch.setattr(costs, "seconds", seconds)
    prefill, decode = costs.speeds("dense", "variant", TOKENS)
    assert prefill == (len(TOKENS) / 2, len(TOKENS) / 1, 2, 2, 2)
    assert decode == (1 / 4, 1, 4, 4, 4)
    assert order[:4] == ["dense", "variant", "variant", "dense"]


def test_the_interval_of_a_speedup_leaves_out_one_run_at_either_end(monkeypatch):
    """Of nine ratios, 1 to 9: the median is 5, and 2 to 8 holds it in 96 % of samples."""
    runs = iter(range(1, 10))
    monkeypatch.setattr(
        costs,
        "seconds",
        lambda model, *_: (float(next(runs)), [1.0]) if model == "dense" else (1.0, [1.0]),
    )
    prefill, _ = costs.speeds("dense", "variant", TOKENS)
    assert (prefill.speedup, prefill.low, prefill.high) == (5, 2, 8)


def test_zeroed_weights_run_the_operations_of_dense_and_dropped_ones_do_not():
    dense, zeroed = _llama(), _llama()
    zeroed.model.layers[0].mlp.up_proj.weight.data.zero_()
    assert costs.has_same_operations(dense, zeroed)
    shorter = _llama()
    shorter.model.layers = shorter.model.layers[:-1]
    assert not costs.has_same_operations(dense, shorter)
