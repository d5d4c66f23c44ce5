"""A variant and a sublayer know their numbers in the dense model."""

import pytest

from prunescope.model import anatomy, edits, loading
from prunescope.model.variant import Variant
from tiny import ARCHITECTURES, tiny_model


def test_sublayers_are_counted_in_the_order_they_run():
    """The number of a sublayer leads back to it, and no two have the same."""
    every = [anatomy.Sublayer(block, kind) for block in range(4) for kind in anatomy.SUBLAYERS]
    assert [each.index for each in every] == list(range(8))
    assert [anatomy.Sublayer.from_index(each.index) for each in every] == every


def test_an_edit_names_the_sublayers_it_drops():
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
def test_parameters_keep_the_weights_of_their_dense_name(architecture, dropped):
    """Blocks that are left share their parameters with the dense blocks of the number they give."""
    dense = tiny_model(architecture)
    edit = edits.Edit({"block": dropped})
    variant = Variant(loading.apply_edit(dense, edit), edit)
    assert sorted(variant.blocks()) == [block for block in range(3) if block not in dropped]
    for index, block in variant.blocks().items():
        own = next(block.parameters())
        assert own is next(anatomy.blocks_of(dense)[index].parameters())
    for name, parameter in variant.model.named_parameters():
        assert dense.get_parameter(variant.name_in_dense(name)) is parameter
