"""One block of a block walk: its linears with their inputs, which a method replaces.

A method gets each block with a statistic of the inputs of every linear, and calls `replace` or
`replace_all`. The block then measures the output error of each edited linear on sampled tokens, and
keeps both the replacement, which becomes part of the edit, and the tensor with which the walk
computes the inputs of the next block.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from prunescope.machine import products, runtime
from prunescope.model.replacements import (
    KeptColumns,
    KeptRows,
    Replacement,
    mapped,
    on_own_pages,
    replaced,
)


@dataclass
class Linear:
    """One linear of a block, with its dense weight and its calibration inputs.

    Attributes
    ----------
    name : dotted name of the linear in the model.
    weight : (out_features, in_features), dense, in the dtype of the model and on the device of the
        walk.
    inputs : the statistic of all its calibration inputs, of the class that the walk was given.
    sample : (tokens, in_features), the inputs on which its output error is measured.
    """

    name: str
    weight: Tensor
    inputs: Any
    sample: Tensor


@dataclass
class Group:
    """Linears of one block that read the same input.

    Attributes
    ----------
    names : names of the linears, relative to the block.
    in_features : width of the input.
    inputs : the statistic of all calibration inputs, of the class that the walk was given.
    sample : (tokens, in_features), the inputs of some tokens.
    linears : the linears themselves, in the order of `names`.
    """

    names: list[str]
    in_features: int
    inputs: Any
    sample: Tensor
    linears: list[Linear] = field(default_factory=list)


Edited = tuple[Replacement, float | None]
"""The replacement of a linear's weight, and the mean importance of its weights if a method has it.
"""


class _MeasuredEdit(NamedTuple):
    """The edited weight of a linear and its row of the report.

    Attributes
    ----------
    replacement : the weight as the edit stores it.
    weight : the weight as the block is run with it.
    row : columns of `compression_report`.
    """

    replacement: Tensor | Replacement
    weight: Tensor
    row: dict[str, object]


class Block:
    """One block of the walk. A method replaces its linears, and all later blocks see the effect.

    Attributes
    ----------
    groups : the linears of the block by the input that they read.
    running : the tensors that the block is run with, by name relative to the block.
    tensors : the replacements so far, by name in the model.
    rows : rows of `compression_report` so far.
    """

    def __init__(
        self,
        prefix: str,
        sublayers: dict[str, str],
        groups: list[Group],
        running: dict[str, Tensor],
    ) -> None:
        self.groups = groups
        self.running = running
        self.tensors: dict[str, Tensor | Replacement] = {}
        self.rows: list[dict[str, object]] = []
        self._prefix = prefix
        self._sublayers = sublayers

    def linear(self, name: str) -> Linear:
        """The linear of a name relative to the block."""
        return next(linear for linear in self.linears() if linear.name == self._prefix + name)

    def names_under(self, sublayer: str) -> list[str]:
        """Names, relative to the block, of the linears in the module `sublayer`."""
        return [name for name in self._sublayers if name.startswith(f"{sublayer}.")]

    def group_of(self, name: str) -> Group:
        """The group of the linear of a name relative to the block."""
        return next(group for group in self.groups if name in group.names)

    def linears(self) -> Iterator[Linear]:
        """All linears of the block."""
        return (linear for group in self.groups for linear in group.linears)

    def replace_all(self, edited: Callable[[Linear], Edited]) -> None:
        """Call `replace` for every linear with the result of `edited`, several at the same time."""
        linears = list(self.linears())
        largest_first = sorted(linears, key=lambda linear: -linear.weight.numel())

        def measure(linear: Linear) -> _MeasuredEdit:
            return self._measure(linear, *edited(linear))

        device = linears[0].weight.device
        measured = runtime.side_by_side(measure, largest_first, device)
        by_name = {linear.name: one for linear, one in zip(largest_first, measured, strict=True)}
        for linear in linears:
            self._apply(linear, by_name[linear.name])

    def replace(
        self, linear: Linear, replacement: Replacement, mean_importance: float | None = None
    ) -> None:
        """Replace the weight of a linear, and report its sparsity and its relative output error.

        The error is |(Ŵ - W) X| / |W X| over the sampled calibration tokens. X are the inputs of
        the linear after the edits of all earlier blocks.

        Parameters
        ----------
        linear : a linear of this block.
        replacement : its new weight.
        mean_importance : mean importance of its weights, for methods that rank them.

        Raises
        ------
        ValueError
            if the edited weight is not finite.
        """
        self._apply(linear, self._measure(linear, replacement, mean_importance))

    def _measure(
        self, linear: Linear, replacement: Replacement, mean_importance: float | None
    ) -> _MeasuredEdit:
        weight, name = linear.weight, self._relative_name(linear)
        new = replaced(weight, replacement)
        same_shape = new if new.shape == weight.shape else _zeroed(weight, replacement)
        if not same_shape.sum(dtype=torch.float32).isfinite():
            raise ValueError(f"{linear.name}: the edited weight holds NaN or infinity.")
        x = linear.sample.float()
        output = torch.linalg.vector_norm(x @ weight.float().T)
        change = torch.linalg.vector_norm(x @ (same_shape.float() - weight.float()).T)
        row = {
            "linear": name,
            "sublayer": self._sublayers[name],
            "sparsity": 1 - float((same_shape != 0).count_nonzero()) / same_shape.numel(),
            "mean_importance": mean_importance,
            "relative_output_error": float(change / output) if output else None,
        }
        running = self._to_run(f"{name}.weight", new)
        return _MeasuredEdit(on_own_pages(replacement), running, row)

    def _apply(self, linear: Linear, measured: _MeasuredEdit) -> None:
        self.tensors[f"{linear.name}.weight"] = measured.replacement
        self.rows.append(measured.row)
        self.running[f"{self._relative_name(linear)}.weight"] = measured.weight

    def replace_bias(self, linear: Linear, replacement: Replacement) -> None:
        """Replace the bias of a linear, if it has one."""
        name = f"{self._relative_name(linear)}.bias"
        bias = self.running.get(name)
        if bias is not None:
            self.tensors[f"{linear.name}.bias"] = on_own_pages(replacement)
            self.running[name] = self._to_run(name, replaced(bias, replacement))

    def _relative_name(self, linear: Linear) -> str:
        return linear.name.removeprefix(self._prefix)

    def _to_run(self, name: str, new: Tensor) -> Tensor:
        """Convert a new tensor to the dtype and memory order of the one that the block runs with.

        The result has memory of its own, because it outlives the temporary tensors around it.
        """
        old = self.running.pop(name)
        dtype, in_order = old.dtype, products.is_ordered(old)
        del old  # so that its memory can be used for the new tensor
        new = new.to(dtype)
        return products.ordered(new) if in_order else mapped(new)


def _zeroed(weight: Tensor, replacement: Replacement) -> Tensor:
    """The weight in its dense shape, with zeros in the rows or columns that are left out."""
    assert isinstance(replacement, (KeptRows, KeptColumns))
    return replacement.zeroed(weight)
