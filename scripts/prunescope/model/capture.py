"""Record the residual stream before and after every sublayer, dense or with one sublayer edited."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunescope.model import anatomy
from prunescope.model.edits import Edit
from prunescope.model.replacements import Replacement, replaced_in

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments with which the model called a block."""


class _ReachedMid(Exception):
    """Stops the forward pass of a block after its attention sublayer."""


@contextlib.contextmanager
def boundaries(
    model: Any, visit: Callable[[int, Tensor], None], calls: dict[int, Call] | None = None
) -> Iterator[None]:
    """Within the context, call `visit` with the residual stream at each boundary of every pass.

    A boundary has the number of the sublayer that reads it: resid_pre of a block has the number of
    its attention, and resid_mid that of its MLP. The last boundary is resid_post of the last block.

    Parameters
    ----------
    model : a model of any supported architecture.
    visit : gets the number of the boundary and the residual stream, (batch, sequence, d).
    calls : if given, collects the arguments of each block.
    """
    body = anatomy.anatomy_of(model)
    blocks = anatomy.blocks_of(model)
    handles = []
    for index, block in enumerate(blocks):

        def before(_: nn.Module, args: Any, kwargs: Any, index: int = index) -> None:
            visit(anatomy.Sublayer(index, "attn").index, _first(args, kwargs))
            if calls is not None:
                calls[index] = (args, kwargs)

        def between(_: nn.Module, args: Any, kwargs: Any, index: int = index) -> None:
            visit(anatomy.Sublayer(index, "mlp").index, _first(args, kwargs))

        mid = block.get_submodule(body.reads_resid_mid)
        handles.append(block.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(mid.register_forward_pre_hook(between, with_kwargs=True))
    last = anatomy.Sublayer(len(blocks), "attn").index
    handles.append(blocks[-1].register_forward_hook(lambda _, __, out: visit(last, state_of(out))))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def sums(model: Any, visit: Callable[[Tensor], None]) -> Iterator[None]:
    """Within the context, call `visit` with each sum of a sublayer's input and output.

    Only sums whose norm is the next boundary are visited, each before that boundary; they are
    (batch, sequence, d). If no norm is applied to the residual stream itself, as in every supported
    decoder, the sum is the next boundary, and `visit` is not called.
    """
    body = anatomy.anatomy_of(model)
    norms = [parts.sum_norm for parts in body.sublayers.values() if parts.sum_norm is not None]
    handles = [
        block.get_submodule(name).register_forward_pre_hook(lambda _, args: visit(args[0]))
        for block in anatomy.blocks_of(model)
        for name in norms
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def residuals(
    model: Any, token_ids: Tensor, start: int, edit: Edit | None = None
) -> tuple[Tensor, dict[int, Tensor]]:
    """Record the residual stream of one pass, and the state after each edited sublayer.

    Every sublayer with replaced tensors is run once more, alone, on its dense input; keys and
    values of all positions then come from the edited weights.

    Parameters
    ----------
    model : the dense model.
    token_ids : (sequence,), tokens of the dense model's context.
    start : first position to return.
    edit : the edit whose sublayers are run; None for none.

    Returns
    -------
    dense : (positions, boundaries, d) in the model's dtype.
    variant : sublayer s -> (positions, d), the state after it if it alone is edited. Dropped
        sublayers are left out: the state after one is the boundary before it, dense[:, s].
    """
    body, blocks = anatomy.anatomy_of(model), anatomy.blocks_of(model)
    edited = _tensors_by_sublayer(body, edit) if edit is not None else {}
    stream: dict[int, Tensor] = {}
    calls: dict[int, Call] = {}

    def keep(boundary: int, h: Tensor) -> None:
        stream[boundary] = h[0, start:]

    with boundaries(model, keep, calls):
        model.base_model(input_ids=token_ids.unsqueeze(0), use_cache=False)
    variant: dict[int, Tensor] = {}
    for index, tensors in edited.items():
        sublayer = anatomy.Sublayer.from_index(index)
        block, call = blocks[sublayer.block], calls[sublayer.block]
        h = _rerun(block, body, call, tensors, stops_at_mid=sublayer.kind == "attn")
        variant[index] = h[0, start:]
    return torch.stack([stream[boundary] for boundary in sorted(stream)], dim=1), variant


def _rerun(
    block: nn.Module,
    body: anatomy.Anatomy,
    call: Call,
    packed: Mapping[str, Tensor | Replacement],
    stops_at_mid: bool,
) -> Tensor:
    """The resid_mid or resid_post of a block with edited tensors, on the inputs of `call`."""
    tensors = replaced_in(block, packed)
    reached: list[Tensor] = []

    def stop(_: nn.Module, args: Any, kwargs: Any) -> None:
        reached.append(_first(args, kwargs))
        raise _ReachedMid

    args, kwargs = call
    if not stops_at_mid:
        return state_of(functional_call(block, tensors, args, kwargs))
    mid = block.get_submodule(body.reads_resid_mid)
    handle = mid.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with contextlib.suppress(_ReachedMid):
            functional_call(block, tensors, args, kwargs)
    finally:
        handle.remove()
    return reached[0]


def _tensors_by_sublayer(
    body: anatomy.Anatomy, edit: Edit
) -> dict[int, dict[str, Tensor | Replacement]]:
    """Replaced tensors by number of the sublayer and name within the block.

    Raises ValueError if a tensor lies outside the sublayers: an edited token embedding or lm_head
    cannot be traced one sublayer at a time.
    """
    tensors_of_sublayer: dict[int, dict[str, Tensor | Replacement]] = {}
    for name, tensor in edit.tensors.items():
        index, _, inner = name.removeprefix(f"{body.blocks}.").partition(".")
        kind = body.sublayer_of(inner)
        if kind is None or not index.isdigit():
            raise ValueError(
                f"edit replaces {name}, which belongs to no sublayer: it cannot be traced."
            )
        tensors_of_sublayer.setdefault(anatomy.Sublayer(int(index), kind).index, {})[inner] = tensor
    return dict(sorted(tensors_of_sublayer.items()))


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The hidden states in the arguments of a module, by position or by keyword."""
    state: Tensor = args[0] if args else kwargs["hidden_states"]
    return state


def state_of(output: Any) -> Tensor:
    """The hidden states that a block returned, as a tensor or as the first entry of a tuple."""
    state: Tensor = output[0] if isinstance(output, tuple) else output
    return state
