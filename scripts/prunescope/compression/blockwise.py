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
"""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunescope import finite, progress
from prunescope.machine import products, runtime
from prunescope.model import anatomy
from prunescope.model.capture import Call, state_of
from prunescope.model.edits import Edit
from prunescope.model.replacements import Columns, Replacement, Rows, mapped, on_own_pages, replaced
from prunescope.tables.schemas import TABLES

_Item = TypeVar("_Item")

SAMPLED_TOKENS = 128
"""Least number of tokens, evenly spaced, on which the output error of each linear is measured."""

LARGEST_STRIDE = 64
"""Largest distance between sampled tokens.

Because of it, more than `SAMPLED_TOKENS` are sampled from a large calibration set.
"""

_WAY_OUT = f"{finite.WAY_OUT} For calibration passes alone, set compression/forward_dtype."

TOKENS_PER_SUM = 128
"""Number of tokens whose squares are added at a time, so that the sums stay in the cache."""


class Statistic(Protocol):
    """A statistic of a linear's inputs that a method needs, summed over the calibration tokens."""

    def __init__(self, in_features: int, device: torch.device) -> None:
        """Start with the statistic of no tokens."""

    def add(self, x: Tensor) -> None:
        """Add the inputs of some tokens, (tokens, in_features)."""

    def merge(self, other: Self) -> None:
        """Add the tokens of another statistic of the same inputs."""

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        """Most bytes held at a time.

        These are either the statistics of all workers, or a single one together with the temporary
        tensors of the computation it is made for.
        """


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
    assert isinstance(replacement, (Rows, Columns))
    return replacement.zeroed(weight)


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
        self.statistic = statistic or _NoStatistic
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
                _WAY_OUT,
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
        collector = _Collector(self.statistic, len(linears), workers, self._sampled_tokens(batches))

        def run_part(worker: int) -> None:
            """Run consecutive micro-batches, so that statistics are merged in order of tokens."""
            first, last = (len(batches) * part // workers for part in (worker, worker + 1))
            for batch in range(first, last):
                batch_progress = collector.begin(batch, worker)
                try:
                    with finite.named(f"block {index}, calibration {_sequences(batches[batch])}"):
                        self._output(dense, states[batches[batch]], call)
                except _AllLinearsCalled:
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

    def _sampled_tokens(self, batches: list[slice]) -> list[range]:
        """The tokens of each micro-batch on which output errors are measured."""
        n, length = self.calibration.token_ids.shape
        stride = min(LARGEST_STRIDE, max(1, n * length // SAMPLED_TOKENS))
        return [
            range(stride // 2, (batch.stop - batch.start) * length, stride) for batch in batches
        ]

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


class _AllLinearsCalled(Exception):
    """Ends the pass through a block once the inputs of all linears are known.

    The product of the last linear is not needed.
    """


@dataclass
class _CollectedGroup:
    """A group of linears while its inputs are collected.

    Attributes
    ----------
    names : names of the linears, relative to the block.
    parts : the statistic of each worker.
    sample : (tokens, in_features), the inputs of the sampled tokens.
    """

    names: list[str]
    parts: list[Statistic]
    sample: Tensor

    def merged(self) -> Group:
        """The group with the statistics of all workers merged."""
        inputs, *others = self.parts
        for other in others:
            inputs.merge(other)
        return Group(self.names, self.sample.shape[-1], inputs, self.sample)


@dataclass
class _BatchProgress:
    """How far one micro-batch has come through a block.

    Attributes
    ----------
    batch, worker : indices of the micro-batch and of the worker that runs it.
    linears : names of the linears that have been called.
    inputs : weak references to their inputs, which must not be kept alive, and their groups.
    """

    batch: int
    worker: int
    linears: set[str] = field(default_factory=set)
    inputs: list[tuple[weakref.ref[Tensor], _CollectedGroup]] = field(default_factory=list)

    def group_of(self, x: Tensor) -> _CollectedGroup | None:
        """The group of an input that another linear has read before; None for a new input."""
        return next((group for other, group in self.inputs if other() is x), None)


class _Collector:
    """Collects the inputs of a block's linears, of several micro-batches at the same time.

    Parameters
    ----------
    statistic : class of the statistic of each input.
    n_linears : number of linears of the block.
    workers : number of threads that run micro-batches.
    sampled : the tokens of each micro-batch that are stored; all micro-batches but the last have
        the same number of them.
    """

    def __init__(
        self, statistic: type[Statistic], n_linears: int, workers: int, sampled: list[range]
    ) -> None:
        self.groups: list[_CollectedGroup] = []
        self._statistic = statistic
        self._n_linears = n_linears
        self._workers = workers
        self._sampled = sampled
        self._group_by_linear: dict[str, _CollectedGroup] = {}
        self._lock = threading.Lock()
        self._thread = threading.local()

    def begin(self, batch: int, worker: int) -> _BatchProgress:
        """Start a micro-batch, to which all further inputs of the calling thread belong."""
        batch_progress = _BatchProgress(batch, worker)
        self._thread.progress = batch_progress
        return batch_progress

    def add(self, name: str, x: Tensor) -> None:
        """Add the input of a linear, unless another linear of its group has added it before.

        Parameters
        ----------
        name : name of the linear, relative to the block.
        x : (sequences, length, in_features).

        Raises
        ------
        NotFinite
            if the input is not finite.
        _AllLinearsCalled
            if this was the last linear of the block.
        """
        batch: _BatchProgress = self._thread.progress
        known = batch.group_of(x)
        group = self._group_of(name, x, known)
        if known is None:
            batch.inputs.append((weakref.ref(x), group))
            finite.checked(x, lambda: f"inputs of {name}, in {x.dtype},", _WAY_OUT)
            tokens, rows = self._sampled[batch.batch], x.flatten(0, -2)
            start = batch.batch * len(self._sampled[0])
            group.sample[start : start + len(tokens)] = rows[tokens.start :: tokens.step]
            group.parts[batch.worker].add(rows)
        batch.linears.add(name)
        if len(batch.linears) == self._n_linears:
            raise _AllLinearsCalled

    def _group_of(self, name: str, x: Tensor, known: _CollectedGroup | None) -> _CollectedGroup:
        """The group of a linear; at its first call it joins the group of its input."""
        with self._lock:
            if name not in self._group_by_linear:
                group = known or self._new_group(x)
                group.names.append(name)
                self._group_by_linear[name] = group
            return self._group_by_linear[name]

    def _new_group(self, x: Tensor) -> _CollectedGroup:
        width = x.shape[-1]
        parts = [self._statistic(width, x.device) for _ in range(self._workers)]
        sample = x.new_empty(sum(map(len, self._sampled)), width)
        self.groups.append(_CollectedGroup([], parts, sample))
        return self.groups[-1]


def _sequences(batch: slice) -> str:
    """The sequences of a micro-batch, in words."""
    first, last = batch.start, batch.stop - 1
    return f"sequence {first}" if first == last else f"sequences {first} to {last}"


class _NoStatistic:
    """The statistic of methods that need none."""

    def __init__(self, in_features: int, device: torch.device) -> None:
        pass

    def add(self, x: Tensor) -> None:
        pass

    def merge(self, other: "_NoStatistic") -> None:
        pass

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        return 0


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


class ColumnNorms:
    """‖x_j‖₂ of every input j over the calibration tokens, from float64 sums of float32 parts."""

    def __init__(self, in_features: int, device: torch.device) -> None:
        self._squares = torch.zeros(in_features, dtype=torch.float64, device=device)

    def add(self, x: Tensor) -> None:
        """Add the squared inputs of some tokens, (tokens, in_features)."""
        wide = torch.promote_types(x.dtype, torch.float32)
        sums = x.new_zeros(min(TOKENS_PER_SUM, len(x)), x.shape[1], dtype=wide)
        for rows in x.split(TOKENS_PER_SUM):
            wide_rows = rows.to(wide)
            sums[: len(rows)].addcmul_(wide_rows, wide_rows)
        self._squares += sums.sum(0)

    def merge(self, other: "ColumnNorms") -> None:
        """Add the sums of squares of another instance."""
        self._squares += other._squares

    def norms(self) -> Tensor:
        """The norms, (in_features,) float32. Raises NotFinite if an input was not finite."""
        norms = self._squares.sqrt().float()
        return finite.checked(norms, "norms of a linear's calibration inputs")

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        """Bytes of the sums of all workers."""
        return 8 * in_features * workers
