"""The recorded residual stream is the one that the model computes, for every architecture."""

import pytest
import torch

from prunescope.model import anatomy, capture, edits, loading
from tiny import tiny_model

TOKENS = torch.tensor([5, 17, 3, 99, 42, 8, 64, 11, 77, 30])


def test_boundaries_equal_output_hidden_states(model):
    """The input of each block is a hidden state; the last one is after the final norm."""
    dense, _ = capture.residuals(model, TOKENS, start=4)
    states = model(TOKENS[None], output_hidden_states=True).hidden_states
    n_blocks = len(anatomy.blocks_of(model))
    assert dense.shape == (6, 2 * n_blocks + 1, model.config.hidden_size)
    for block in range(n_blocks):
        torch.testing.assert_close(dense[:, 2 * block], states[block][0, 4:])
    final = anatomy.final_norm_of(model)(dense[:, -1])
    torch.testing.assert_close(final, states[-1][0, 4:])


def test_resid_mid_is_the_output_of_a_block_without_mlp(model):
    """It is compared with the model whose MLP is dropped."""
    last = len(anatomy.blocks_of(model)) - 1
    variant = loading.apply_edit(model, edits.Edit(dropped={"mlp": (last,)}))
    dense, _ = capture.residuals(model, TOKENS, start=0)
    dropped, _ = capture.residuals(variant, TOKENS, start=0)
    torch.testing.assert_close(dropped[:, -1], dense[:, -2])


@pytest.mark.parametrize("sublayer", [0, 1])
def test_a_replaced_sublayer_gets_the_dense_input(model, sublayer):
    """Its output is that of a model with only this sublayer edited."""
    block, half = 1, anatomy.SUBLAYERS[sublayer]
    owner = f"{anatomy.anatomy_of(model).blocks}.{block}.{getattr(anatomy.anatomy_of(model), half)}"
    name = next(
        f"{owner}.{n}"
        for n, p in model.get_submodule(owner).named_parameters()
        if p.ndim == 2 and not n.startswith("o_proj")
    )
    tensor = model.get_parameter(name) * 0.5
    edit = edits.Edit(tensors={name: tensor})
    _, variant = capture.residuals(model, TOKENS, start=0, edit=edit)
    edited, _ = capture.residuals(loading.apply_edit(model, edit), TOKENS, start=0)
    s = 2 * block + sublayer
    assert list(variant) == [s]
    torch.testing.assert_close(variant[s], edited[:, s + 1])
    assert not torch.equal(variant[s], capture.residuals(model, TOKENS, start=0)[0][:, s + 1])


def test_a_tensor_outside_the_sublayers_is_refused():
    """An edited embedding belongs to no trace of single sublayers."""
    model = tiny_model("llama")
    edit = edits.Edit(tensors={"model.embed_tokens.weight": model.model.embed_tokens.weight})
    with pytest.raises(ValueError, match="belongs to no sublayer"):
        capture.residuals(model, TOKENS, start=0, edit=edit)
