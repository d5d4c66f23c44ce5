"""Run calibration text through a model block by block, and let a method edit each block.

For each block, `BlockWalk` runs the calibration set through the dense block and collects a
statistic of its linears' inputs, which the method has chosen. The method then replaces weights of
the block. Finally the edited block computes the hidden states that the next block reads. Every
block is therefore compressed on the inputs that it gets in the compressed model.

The micro-batches of the calibration set are divided among workers, which run in parallel. Linears
that read the same tensor (for instance q, k and v) form a group, whose inputs are collected once.

Peak memory consists of the model on its own device, one block, the hidden states of the calibration
set, the statistics of one block, and the temporary tensors of one micro-batch per worker;
`BlockWalk.estimate` counts them. The edit needs further memory, which grows with every block.

A walk consists of `block` (what a method gets and replaces), `input_statistics` (what is summed),
`input_collection` (how inputs are collected by several threads), and this module, which runs the
blocks and from which methods import all names that they need.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunescope import finite, progress
from prunescope.compression.block import Block, Group, Linear
from prunescope.compression.input_collection import (
    REMEDY,
    AllLinearsCalled,
    Collector,
    sampled_tokens,
)
from prunescope.compression.input_statistics import ColumnNorms, NoStatistic, Statistic
from prunescope.machine import products, runtime
from prunescope.model import anatomy
from prunescope.model.capture import Call, state_of
from prunescope.model.edits import Edit
from prunescope.model.replacements import Replacement
from prunescope.tables.schemas import TABLES

__all__ = [
    "Block",
    "BlockWalk",
    "Calibration",
    "ColumnNorms",
    "Group",
    "Linear",
    "Memory",
    "Statistic",
    "matrices_outside_linears",
]
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Calibration:
    """The text that a method may use, and how it is run through the model.

    Attributes
    ----------
    token_ids : (sequences, length).
    device : device on which one block at a time is run; the model may be on another one.
    dtype : dtype of weights and hidden states in forward passes; None for the dtype of the model.
        The weights that are compressed are always those of the model in its own dtype.
    tokens_together : number of tokens in a micro-batch, rounded down to whole sequences, but at
        least one sequence. Each worker runs a micro-batch of its own.
    """

    token_ids: Tensor
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype | None = None
    tokens_together: int = 1024

    def micro_batches(self) -> Iterator[slice]:
        """Slices of the sequences that are run at a time."""
        n, length = self.token_ids.shape
        size = max(1, self.tokens_together // length)
        for start in range(0, n, size):
            yield slice(start, min(start + size, n))

    def excerpt(self) -> "Calibration":
        """The first sixteenth of the sequences, which is enough to measure output errors."""
        return replace(self, token_ids=self.token_ids[: -(-len(self.token_ids) // 16)])


class Memory(NamedTuple):
    """Bytes that a walk needs at its peak, by their purpose."""

    model: int
    block: int
    activations: int
    statistics: int
    micro_batches: int

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in self._asdict().items())
        return f"{sum(self) / 2**20:.0f} MB ({parts})"


class BlockWalk:
    """Iterate over the blocks of a model in order; the inputs of each follow from earlier edits.

    Parameters
    ----------
    model : the dense model, on any device; it is not changed.
    calibration : the text, and how it is run.
    statistic : class of the statistic that is collected from the inputs of every linear before the
        method gets the block. If it is None, only the inputs on which output errors are measured
        are collected, from an excerpt of the calibration set.

    Raises
    ------
    ValueError
        if a weight or a hidden state is not finite, if a block never calls one of its linears, or
        if a block has matrices that are not weights of linears.
    """

    def __init__(
        self, model: Any, calibration: Calibration, statistic: type[Statistic] | None
    ) -> None:
        if outside := matrices_outside_linears(model):
            raise ValueError(
                f"{model.config.model_type} keeps {', '.join(outside[:3])} in no nn.Linear: "
                "methods that change weights would leave most of a block dense. Use a method that "
                "drops sublayers or blocks instead."
            )
        self.model = model
        self.calibration = calibration if statistic is not None else calibration.excerpt()
        self.statistic = statistic or NoStatistic
        self._dtype = calibration.dtype or next(model.parameters()).dtype
        self._tensors: dict[str, Tensor | Replacement] = {}
        self._rows: list[dict[str, object]] = []

    @torch.no_grad()
    def __iter__(self) -> Iterator[Block]:
        progress.LOG.info("peak memory is estimated at %s", self.estimate())
        states, calls = self._embed()
        blocks = anatomy.blocks_of(self.model)
        for index, dense in enumerate(progress.track(blocks, "blocks compressed")):
            block = self._observe(index, dense, states, calls[index])
            yield block
            self._tensors.update(block.tensors)
            block.tensors.clear()
            self._rows.extend({"block": index, **row} for row in block.rows)
            block.groups.clear()
            if index + 1 < len(blocks):
                self._advance(dense, block.running, states, calls[index])
                self._check(states, f"edited block {index}")
            block.running.clear()  # frees the memory even if the caller keeps the block

    def _check(self, states: Tensor, after: str) -> None:
        """Raise NotFinite for the first sequence with a hidden state that is not finite."""
        for sequence, hidden_states in enumerate(states):
            finite.checked(
                hidden_states,
                f"calibration sequence {sequence}: hidden states after {after}, in {self._dtype},",
                REMEDY,
            )

    def result(self, method: str) -> tuple[Edit, pa.Table]:
        """The edit of all blocks visited so far, and its rows of `compression_report`.

        Parameters
        ----------
        method : name of the method, a column of the report.
        """
        schema = TABLES["compression_report"].schema
        rows = [{"method": method, **row} for row in self._rows]
        return Edit(tensors=dict(self._tensors)), pa.Table.from_pylist(rows, schema=schema)

    def estimate(self) -> Memory:
        """Peak memory of the walk, computed before it starts."""
        blocks = anatomy.blocks_of(self.model)
        width = next(blocks[0].parameters()).shape[-1]
        item = self._dtype.itemsize
        n, length = self.calibration.token_ids.shape
        shapes = [m.weight.shape for m in blocks[0].modules() if isinstance(m, nn.Linear)]
        distinct = {shape[1] for shape in shapes}
        batches = list(self.calibration.micro_batches())
        tokens = length * (batches[0].stop - batches[0].start)
        workers = runtime.workers_for(len(batches), self.calibration.device)
        return Memory(
            model=sum(tensor.nbytes for tensor in self.model.parameters()),
            block=sum(p.numel() for p in blocks[0].parameters()) * (item + 4),
            activations=n * length * width * item,
            statistics=sum(self.statistic.memory(width, workers) for width in distinct),
            micro_batches=workers * tokens * sum(out + into for out, into in shapes) * max(item, 4),
        )

    def _embed(self) -> tuple[Tensor, list[Call]]:
        """Hidden states before block 0, (sequences, length, d), and how the model calls each block.

        The model itself is run, with blocks that return their input. The arguments it passes to
        them (masks, rotary embeddings, positions) are therefore correct for every architecture.
        They are recorded for one sequence and used for all, because all sequences have the same
        length and none is padded.
        """
        blocks = anatomy.blocks_of(self.model)
        calls: list[Call] = []
        block_inputs: list[Tensor] = []

        def pass_through(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            block_inputs.append(hidden_states)
            if len(calls) < len(blocks):
                calls.append((args, kwargs))
            return hidden_states

        def embed(token_ids: Tensor) -> Tensor:
            block_inputs.clear()
            self.model.base_model(input_ids=token_ids.to(self.model.device), use_cache=False)
            return block_inputs[0]

        for block in blocks:
            block.forward = pass_through
        try:
            ids = self.calibration.token_ids
            states = torch.empty(*ids.shape, embed(ids[:1]).shape[-1], dtype=self._dtype)
            for batch in self.calibration.micro_batches():
                states[batch] = embed(ids[batch])
        finally:
            for block in blocks:
                del block.forward
        self._check(states, "the embedding")
        return states, _converted(calls, self.calibration.device, self._dtype)

    def _observe(self, index: int, dense: nn.Module, states: Tensor, call: Call) -> Block:
        """The block with statistics and samples of its linears' inputs; no output is computed."""
        body = anatomy.anatomy_of(self.model)
        prefix = f"{body.blocks}.{index}."
        linears = {n: m for n, m in dense.named_modules() if isinstance(m, nn.Linear)}
        running = self._running_tensors(dense, linears, prefix)
        groups = self._collect_inputs(index, dense, linears, running, states, call)
        for group in groups:
            for name in group.names:
                weight = linears[name].weight.to(self.calibration.device)
                group.linears.append(Linear(f"{prefix}{name}", weight, group.inputs, group.sample))
        sublayers = {name: str(body.sublayer_of(name)) for name in linears}
        return Block(prefix, sublayers, groups, running)

    def _running_tensors(
        self, dense: nn.Module, linears: dict[str, nn.Linear], prefix: str
    ) -> dict[str, Tensor]:
        """The dense tensors of a block on the device and in the dtype of calibration passes.

        Weights are in the memory order in which matrix products read them. Raises ValueError if a
        weight is not finite.
        """
        tensors = {**dict(dense.named_parameters()), **dict(dense.named_buffers())}
        running: dict[str, Tensor] = _converted(tensors, self.calibration.device, self._dtype)

        def ordered(name: str) -> Tensor:
            if not linears[name].weight.sum(dtype=torch.float32).isfinite():
                raise ValueError(
                    f"{prefix}{name}: the dense weight holds NaN or infinity. Fetch the model "
                    "again, or choose another."
                )
            weight = running[f"{name}.weight"]
            return products.ordered(weight) if products.reads(linears[name]) else weight

        weights = runtime.side_by_side(ordered, list(linears), self.calibration.device)
        return running | {
            f"{name}.weight": weight for name, weight in zip(linears, weights, strict=True)
        }

    def _collect_inputs(
        self,
        index: int,
        dense: nn.Module,
        linears: dict[str, nn.Linear],
        running: dict[str, Tensor],
        states: Tensor,
        call: Call,
    ) -> list[Group]:
        """Run the calibration set through a block and collect the inputs of its linears.

        Parameters
        ----------
        index, dense : index of the block, and the block.
        linears : its linears by name relative to the block.
        running : the tensors that the block is run with.
        states : (sequences, length, d), hidden states before the block.
        call : the other arguments of the block.

        Raises
        ------
        ValueError
            if the block never calls one of its linears, or if an input is not finite.
        """
        batches = list(self.calibration.micro_batches())
        workers = runtime.workers_for(len(batches), self.calibration.device)
        sampled = sampled_tokens(batches, *self.calibration.token_ids.shape)
        collector = Collector(self.statistic, len(linears), workers, sampled)

        def run_part(worker: int) -> None:
            """Run consecutive micro-batches, so that statistics are merged in order of tokens."""
            first, last = (len(batches) * part // workers for part in (worker, worker + 1))
            for batch in range(first, last):
                batch_progress = collector.begin(batch, worker)
                try:
                    with finite.named(f"block {index}, calibration {_sequences(batches[batch])}"):
                        self._output(dense, states[batches[batch]], call)
                except AllLinearsCalled:
                    continue
                never = sorted(set(linears) - batch_progress.linears)
                raise ValueError(f"block {index} never calls {', '.join(never)}: cannot calibrate.")

        handles = [
            linear.register_forward_pre_hook(
                lambda _, args, name=name: collector.add(name, args[0])
            )
            for name, linear in linears.items()
        ]
        try:
            self._run_with(dense, running, run_part, range(workers))
        finally:
            for handle in handles:
                handle.remove()
        return [group.merged() for group in collector.groups]

    def _advance(
        self, dense: nn.Module, running: dict[str, Tensor], states: Tensor, call: Call
    ) -> None:
        """Overwrite the hidden states before a block with those after it."""

        def advance(batch: slice) -> None:
            states[batch] = self._output(dense, states[batch], call)

        self._run_with(dense, running, advance, list(self.calibration.micro_batches()))

    def _output(self, dense: nn.Module, states: Tensor, call: Call) -> Tensor:
        """The output of a block for one micro-batch."""
        args, kwargs = call
        return state_of(dense(states.to(self.calibration.device), *args, **kwargs))

    def _run_with(
        self,
        dense: nn.Module,
        running: dict[str, Tensor],
        work: Callable[[_Item], None],
        items: Sequence[_Item],
    ) -> None:
        """Apply `work` to several items at the same time, while the block uses other tensors.

        Parameters
        ----------
        dense : the block; it is neither copied nor changed.
        running : the tensors that it uses instead of its own, by name relative to the block.
        work : function of one item that runs the block.
        items : arguments of `work`.
        """
        tensors = {f"block.{name}": tensor for name, tensor in running.items()}
        functional_call(
            _BlockHolder(dense),
            tensors,
            (lambda: runtime.side_by_side(work, items, self.calibration.device),),
        )


def matrices_outside_linears(model: Any) -> list[str]:
    """Matrices of blocks that are not weights of linears (experts), by name relative to a block."""
    names: list[str] = []
    for block in anatomy.blocks_of(model):
        for owner, module in block.named_modules():
            if not isinstance(module, nn.Linear):
                names += [
                    f"{owner}.{name}".lstrip(".")
                    for name, parameter in module.named_parameters(recurse=False)
                    if parameter.ndim > 1
                ]
    return list(dict.fromkeys(names))


class _BlockHolder(nn.Module):
    """A module around a block, for `functional_call` to exchange the block's tensors.

    Threads share the parameters of a module. The tensors are therefore exchanged once for all
    threads, while the holder's own `forward` starts them.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, work: Callable[[], object]) -> None:
        """Do the work that needs the exchanged tensors."""
        work()


def _sequences(batch: slice) -> str:
    """The sequences of a micro-batch, in words."""
    first, last = batch.start, batch.stop - 1
    return f"sequence {first}" if first == last else f"sequences {first} to {last}"


def _converted(values: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Nested tuples, lists and dicts with every tensor on `device`.

    Floating-point tensors are converted to `dtype`; other values are left as they are.
    """
    if isinstance(values, Tensor):
        return values.to(device, dtype if values.is_floating_point() else None)
    if isinstance(values, (tuple, list)):
        return type(values)(_converted(part, device, dtype) for part in values)
    if isinstance(values, dict):
        return {name: _converted(part, device, dtype) for name, part in values.items()}
    return values
