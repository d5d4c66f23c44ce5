"""What every linear of a model reads, recorded by hooks on an ordinary forward pass."""

import torch
from torch import nn

from prunescope.model import anatomy, edits, loading


def before(edit, model, block):
    """The edit without its parts at and after `block`: what a method had done when it got there."""
    prefix = anatomy.anatomy_of(model).blocks
    earlier = {
        name: new
        for name, new in edit.tensors.items()
        if int(name.removeprefix(f"{prefix}.").partition(".")[0]) < block
    }
    return edits.Edit(tensors=earlier)


@torch.no_grad()
def of_block(model, edit, block, token_ids):
    """Linear -> its inputs in block `block`, (tokens, in_features), of the model so edited."""
    variant = loading.apply_edit(model, edit)
    found = {}
    handles = [
        module.register_forward_pre_hook(
            lambda _, args, name=name: found.__setitem__(name, args[0].flatten(0, -2))
        )
        for name, module in anatomy.blocks_of(variant)[block].named_modules()
        if isinstance(module, nn.Linear)
    ]
    variant(token_ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return found


@torch.no_grad()
def visit(model, edit, token_ids, look):
    """Call `look(block, inputs)` for each block, itself dense, after the edits of all before it.

    One pass of the variant, in which each dense block is run on what its edited twin is given;
    `inputs` is linear -> (tokens, in_features).
    """
    variant = loading.apply_edit(model, edit)
    pairs = zip(anatomy.blocks_of(variant), anatomy.blocks_of(model), strict=True)

    def run_dense(block, dense, args, kwargs):
        found = {}
        handles = [
            module.register_forward_pre_hook(
                lambda _, args, name=name: found.__setitem__(name, args[0].flatten(0, -2))
            )
            for name, module in dense.named_modules()
            if isinstance(module, nn.Linear)
        ]
        dense(*args, **kwargs)
        for handle in handles:
            handle.remove()
        look(block, found)

    for index, (edited, dense) in enumerate(pairs):
        edited.register_forward_pre_hook(
            lambda _, args, kwargs, index=index, dense=dense: run_dense(index, dense, args, kwargs),
            with_kwargs=True,
        )
    variant.base_model(token_ids, use_cache=False)


def own_linears(model):
    """(block, name within the block, full name of its weight) of every linear of every block."""
    prefix = anatomy.anatomy_of(model).blocks
    return [
        (index, name, f"{prefix}.{index}.{name}.weight")
        for index, block in enumerate(anatomy.blocks_of(model))
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear)
    ]
