"""Variants and sublayers give their block numbers in the dense model."""

import pytest

from prunescope.model import anatomy, edits, loading
from prunescope.model.variant import Variant
from tiny import ARCHITECTURES, tiny_model


def test_sublayers_are_numbered_in_the_order_of_execution():
    """Each number belongs to exactly one sublayer."""
    every = [anatomy.Sublayer(block, kind) for block in range(4) for kind in anatomy.SUBLAYERS]
    assert [each.index for each in every] == list(range(8))
    assert [anatomy.Sublayer.from_index(each.index) for each in every] == every


def test_an_edit_lists_its_dropped_sublayers():
    edit = edits.Edit({"attn": (0,), "mlp": (2,), "block": (1,)})
    dropped = [anatomy.Sublayer.from_index(index) for index in edit.dropped_sublayers(3)]
    assert [(each.block, each.kind) for each in dropped] == [
        (0, "attn"),
        (1, "attn"),
        (1, "mlp"),
        (2, "mlp"),
    ]


@pytest.mark.parametrize("dropped", [(), (0,), (0, 2), (1,)])
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gpt2"])
def test_parameters_of_remaining_blocks_have_their_dense_weights(architecture, dropped):
    """They are shared with the dense blocks of the given numbers."""
    dense = tiny_model(architecture)
    edit = edits.Edit({"block": dropped})
    variant = Variant(loading.apply_edit(dense, edit), edit)
    assert sorted(variant.blocks()) == [block for block in range(3) if block not in dropped]
    for index, block in variant.blocks().items():
        own = next(block.parameters())
        assert own is next(anatomy.blocks_of(dense)[index].parameters())
    for name, parameter in variant.model.named_parameters():
        assert dense.get_parameter(variant.name_in_dense(name)) is parameter
