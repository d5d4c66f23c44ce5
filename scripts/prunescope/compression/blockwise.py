"""Calibration flows through the model one block at a time: see a block's inputs, edit it, go on.

Peak memory is the model where it lives, one block, the hidden states of the calibration set, one
block's statistics and the temporaries of one micro-batch a worker (`BlockWalk.estimate`); the edit
itself comes on top as it grows.
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
"""Tokens, evenly spaced, on which each linear's output error is measured, at least."""

SAMPLED_SHARE = 64
"""One token of so many is sampled where that is more."""


_WAY_OUT = f"{finite.WAY_OUT} Calibration passes alone: compression/forward_dtype."

ROWS_TOGETHER = 128
"""Tokens whose squares are added at once: so many sums of a column stay in the cache."""


class Statistic(Protocol):
    """What a method must know of a linear's input, summed over the calibration tokens."""

    def __init__(self, in_features: int, device: torch.device) -> None:
        """Empty: no token seen."""

    def add(self, x: Tensor) -> None:
        """Take in the inputs of some tokens, (tokens, in_features)."""

    def merge(self, other: Self) -> None:
        """Take in what another has seen."""

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        """Bytes held at most: one of each worker, or one and the workspace of what it is for."""


@dataclass(frozen=True)
class Calibration:
    """The text a method may look at, and how it flows through the model.

    Attributes
    ----------
    token_ids : (sequences, length).
    device : where one block at a time is run; the model may live elsewhere.
    dtype : of weights and hidden states during forward passes; None is the model's own. What is
        compressed is always the model's own weights.
    tokens_together : tokens of one micro-batch, at least one sequence. Each worker runs its own.
    """

    token_ids: Tensor
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype | None = None
    tokens_together: int = 1024

    def micro_batches(self) -> Iterator[slice]:
        """Sequences that are run together."""
        n, length = self.token_ids.shape
        together = max(1, self.tokens_together // length)
        for start in range(0, n, together):
            yield slice(start, min(start + together, n))

    def excerpt(self) -> "Calibration":
        """The first sixteenth of the sequences: enough to measure errors on."""
        return replace(self, token_ids=self.token_ids[: -(-len(self.token_ids) // 16)])


class Memory(NamedTuple):
    """Bytes a walk needs at its peak, by what needs them."""

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
    """One linear of a block: its dense weight, and the place where its edit goes."""

    name: str
    """Of the linear in the model, dotted."""
    weight: Tensor
    """(out_features, in_features), dense, in the model's own dtype, on the walk's device."""
    inputs: Any
    """The statistic the walk was given, of all its inputs."""
    sample: Tensor
    """(tokens, in_features), the inputs its output error is measured on."""


@dataclass
class Group:
    """Linears of one block that read the same input, and what is known of it.

    `names` are relative to the block; `inputs` is the statistic the walk was given; `sample` holds
    the inputs of some tokens, (tokens, in_features).
    """

    names: list[str]
    in_features: int
    inputs: Any
    sample: Tensor
    linears: list[Linear] = field(default_factory=list)


Edited = tuple[Replacement, float | None]
"""What a linear's weight becomes, and the mean importance of its weights where there is one."""


class _Measured(NamedTuple):
    """A linear's edited weight, packed and as the block runs with it, and its row of the report."""

    replacement: Tensor | Replacement
    new: Tensor
    row: dict[str, object]


class Block:
    """One block under the walk. A method replaces its linears; the rest of the walk sees that.

    `running` holds the tensors the block is run with, by name relative to the block.
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
        """One linear by its name relative to the block."""
        return next(linear for linear in self.linears() if linear.name == self._prefix + name)

    def names_under(self, sublayer: str) -> list[str]:
        """Names, relative to the block, of the linears inside one of its modules."""
        return [name for name in self._sublayers if name.startswith(f"{sublayer}.")]

    def group_of(self, name: str) -> Group:
        """The group of one linear, by its name relative to the block."""
        return next(group for group in self.groups if name in group.names)

    def linears(self) -> Iterator[Linear]:
        """All linears of the block."""
        return (linear for group in self.groups for linear in group.linears)

    def replace_all(self, edited: Callable[[Linear], Edited]) -> None:
        """`replace` every linear by what `edited` makes of it, several side by side."""
        linears = list(self.linears())
        largest_first = sorted(linears, key=lambda linear: -linear.weight.numel())

        def measured(linear: Linear) -> _Measured:
            return self._measured(linear, *edited(linear))

        device = linears[0].weight.device
        found = runtime.side_by_side(measured, largest_first, device)
        by_name = {linear.name: one for linear, one in zip(largest_first, found, strict=True)}
        for linear in linears:
            self._take(linear, by_name[linear.name])

    def replace(
        self, linear: Linear, replacement: Replacement, mean_importance: float | None = None
    ) -> None:
        """Give a linear its edited weight, and report sparsity and relative output error.

        The error is |(Ŵ - W) X| / |W X| over sampled calibration tokens, X the inputs after the
        edits of all earlier blocks. Raises ValueError where the edited weight is not finite.
        """
        self._take(linear, self._measured(linear, replacement, mean_importance))

    def _measured(
        self, linear: Linear, replacement: Replacement, mean_importance: float | None
    ) -> _Measured:
        weight, name = linear.weight, self._relative(linear)
        new = replaced(weight, replacement)
        in_place = new if new.shape == weight.shape else _zeroed(weight, replacement)
        if not in_place.sum(dtype=torch.float32).isfinite():
            raise ValueError(f"{linear.name}: the edited weight holds NaN or infinity.")
        x = linear.sample.float()
        before = torch.linalg.vector_norm(x @ weight.float().T)
        change = torch.linalg.vector_norm(x @ (in_place.float() - weight.float()).T)
        row = {
            "linear": name,
            "sublayer": self._sublayers[name],
            "sparsity": 1 - float((in_place != 0).count_nonzero()) / in_place.numel(),
            "mean_importance": mean_importance,
            "relative_output_error": float(change / before) if before else None,
        }
        as_run = self._as_run(f"{name}.weight", new)
        return _Measured(on_own_pages(replacement), as_run, row)

    def _take(self, linear: Linear, measured: _Measured) -> None:
        self.tensors[f"{linear.name}.weight"] = measured.replacement
        self.rows.append(measured.row)
        self.running[f"{self._relative(linear)}.weight"] = measured.new

    def replace_bias(self, linear: Linear, replacement: Replacement) -> None:
        """Give a linear its edited bias, where it has one."""
        name = f"{self._relative(linear)}.bias"
        bias = self.running.get(name)
        if bias is not None:
            self.tensors[f"{linear.name}.bias"] = on_own_pages(replacement)
            self.running[name] = self._as_run(name, replaced(bias, replacement))

    def _relative(self, linear: Linear) -> str:
        return linear.name.removeprefix(self._prefix)

    def _as_run(self, name: str, new: Tensor) -> Tensor:
        """In the dtype and order the block is run in, among no temporaries: it stays longer."""
        before = self.running.pop(name)
        dtype, in_order = before.dtype, products.is_ordered(before)
        del before  # the new one may lie in its place
        new = new.to(dtype)
        return products.ordered(new) if in_order else mapped(new)


def _zeroed(weight: Tensor, replacement: Replacement) -> Tensor:
    """A weight with what the replacement leaves out set to zero, in the dense shape."""
    assert isinstance(replacement, (Rows, Columns))
    return replacement.zeroed(weight)


class BlockWalk:
    """Iterate over the blocks of a model in order; each sees the edits of all before it.

    Parameters
    ----------
    model : the dense model, on any device; it stays as it is.
    statistic : what to gather of every linear's input before a block is handed out. None: nothing
        but the sample errors are measured on, from an excerpt of the calibration set.

    Raises
    ------
    ValueError
        if a weight or a hidden state is not finite, a block never calls one of its linears, or has
        matrices that are no linear's weight.
    """

    def __init__(
        self, model: Any, calibration: Calibration, statistic: type[Statistic] | None
    ) -> None:
        if unread := unreachable(model):
            raise ValueError(
                f"{model.config.model_type} keeps {', '.join(unread[:3])} in no nn.Linear: methods "
                "that change weights would leave most of a block dense. Drop sublayers or blocks "
                "of it instead."
            )
        self.model = model
        self.calibration = calibration if statistic is not None else calibration.excerpt()
        self.statistic = statistic or _Nothing
        self._dtype = calibration.dtype or next(model.parameters()).dtype
        self._tensors: dict[str, Tensor | Replacement] = {}
        self._rows: list[dict[str, object]] = []

    @torch.no_grad()
    def __iter__(self) -> Iterator[Block]:
        progress.LOG.info("peak memory is estimated at %s", self.estimate())
        states, calls = self._embed()
        blocks = anatomy.blocks_of(self.model)
        for index, dense in enumerate(progress.track(blocks, "blocks compressed")):
            block = self._observed(index, dense, states, calls[index])
            yield block
            self._tensors.update(block.tensors)
            block.tensors.clear()
            self._rows.extend({"block": index, **row} for row in block.rows)
            block.groups.clear()
            if index + 1 < len(blocks):
                self._advance(dense, block.running, states, calls[index])
                self._check(states, f"edited block {index}")
            block.running.clear()  # whoever still holds the block

    def _check(self, states: Tensor, after: str) -> None:
        """Raise NotFinite, which names the first such sequence, unless all hidden states are."""
        for sequence, each in enumerate(states):
            finite.checked(
                each,
                f"calibration sequence {sequence}: hidden states after {after}, in {self._dtype},",
                _WAY_OUT,
            )

    def result(self, method: str) -> tuple[Edit, pa.Table]:
        """The edit of all blocks visited, and its rows of `compression_report`."""
        schema = TABLES["compression_report"].schema
        rows = [{"method": method, **row} for row in self._rows]
        return Edit(tensors=dict(self._tensors)), pa.Table.from_pylist(rows, schema=schema)

    def estimate(self) -> Memory:
        """Peak memory of the walk, counted before it starts."""
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

        The model itself is run with its blocks passed over, so whatever it gives them (masks,
        rotary embeddings, positions) is right for every architecture. It is recorded for one
        sequence and serves all: they are equally long, and none is padded.
        """
        blocks = anatomy.blocks_of(self.model)
        calls: list[Call] = []
        reached: list[Tensor] = []

        def pass_over(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            reached.append(hidden_states)
            if len(calls) < len(blocks):
                calls.append((args, kwargs))
            return hidden_states

        def embed(token_ids: Tensor) -> Tensor:
            reached.clear()
            self.model.base_model(input_ids=token_ids.to(self.model.device), use_cache=False)
            return reached[0]

        for block in blocks:
            block.forward = pass_over
        try:
            ids = self.calibration.token_ids
            states = torch.empty(*ids.shape, embed(ids[:1]).shape[-1], dtype=self._dtype)
            for some in self.calibration.micro_batches():
                states[some] = embed(ids[some])
        finally:
            for block in blocks:
                del block.forward
        self._check(states, "the embedding")
        return states, _moved(calls, self.calibration.device, self._dtype)

    def _observed(self, index: int, dense: nn.Module, states: Tensor, call: Call) -> Block:
        """The block with statistics and sampled inputs of all its linears; no output is made."""
        body = anatomy.anatomy_of(self.model)
        prefix = f"{body.blocks}.{index}."
        linears = {n: m for n, m in dense.named_modules() if isinstance(m, nn.Linear)}
        running = self._running(dense, linears, prefix)
        groups = self._gather(index, dense, linears, running, states, call)
        for group in groups:
            for name in group.names:
                weight = linears[name].weight.to(self.calibration.device)
                group.linears.append(Linear(f"{prefix}{name}", weight, group.inputs, group.sample))
        sublayers = {name: str(body.sublayer_of(name)) for name in linears}
        return Block(prefix, sublayers, groups, running)

    def _running(
        self, dense: nn.Module, linears: dict[str, nn.Linear], prefix: str
    ) -> dict[str, Tensor]:
        """A block's own tensors where and as it is run, weights in the order products read them."""
        own = {**dict(dense.named_parameters()), **dict(dense.named_buffers())}
        running: dict[str, Tensor] = _moved(own, self.calibration.device, self._dtype)

        def ready(name: str) -> Tensor:
            if not linears[name].weight.sum(dtype=torch.float32).isfinite():
                raise ValueError(
                    f"{prefix}{name}: the dense weight holds NaN or infinity. Fetch the model "
                    "again, or choose another."
                )
            weight = running[f"{name}.weight"]
            return products.ordered(weight) if products.reads(linears[name]) else weight

        weights = runtime.side_by_side(ready, list(linears), self.calibration.device)
        return running | {
            f"{name}.weight": weight for name, weight in zip(linears, weights, strict=True)
        }

    def _gather(
        self,
        index: int,
        dense: nn.Module,
        linears: dict[str, nn.Linear],
        running: dict[str, Tensor],
        states: Tensor,
        call: Call,
    ) -> list[Group]:
        batches = list(self.calibration.micro_batches())
        workers = runtime.workers_for(len(batches), self.calibration.device)
        watch = _Watch(self.statistic, len(linears), workers, self._sampled(batches))

        def look(worker: int) -> None:
            """Micro-batches in a row, so that statistics are merged in the order of tokens."""
            first, last = (len(batches) * part // workers for part in (worker, worker + 1))
            for batch in range(first, last):
                seen = watch.begin(batch, worker)
                try:
                    with finite.named(f"block {index}, calibration {_sequences(batches[batch])}"):
                        self._output(dense, states[batches[batch]], call)
                except _SeenAll:
                    continue
                never = sorted(set(linears) - seen.linears)
                raise ValueError(f"block {index} never calls {', '.join(never)}: cannot calibrate.")

        handles = [
            linear.register_forward_pre_hook(lambda _, args, name=name: watch.show(name, args[0]))
            for name, linear in linears.items()
        ]
        try:
            self._with_others(dense, running, look, range(workers))
        finally:
            for handle in handles:
                handle.remove()
        return [group.whole() for group in watch.groups]

    def _sampled(self, batches: list[slice]) -> list[range]:
        """Of each micro-batch, the tokens that errors are measured on."""
        n, length = self.calibration.token_ids.shape
        stride = min(SAMPLED_SHARE, max(1, n * length // SAMPLED_TOKENS))
        return [range(stride // 2, (some.stop - some.start) * length, stride) for some in batches]

    def _advance(
        self, dense: nn.Module, running: dict[str, Tensor], states: Tensor, call: Call
    ) -> None:
        """Replace the hidden states before a block by those after it."""

        def advance(some: slice) -> None:
            states[some] = self._output(dense, states[some], call)

        self._with_others(dense, running, advance, list(self.calibration.micro_batches()))

    def _output(self, dense: nn.Module, states: Tensor, call: Call) -> Tensor:
        """The block's output of one micro-batch."""
        args, kwargs = call
        return state_of(dense(states.to(self.calibration.device), *args, **kwargs))

    def _with_others(
        self,
        dense: nn.Module,
        running: dict[str, Tensor],
        work: Callable[[_Item], None],
        items: Sequence[_Item],
    ) -> None:
        """Work side by side while other tensors are in the place of the block's own: no copy."""
        others = {f"block.{name}": tensor for name, tensor in running.items()}
        functional_call(
            _Holder(dense),
            others,
            (lambda: runtime.side_by_side(work, items, self.calibration.device),),
        )


def unreachable(model: Any) -> list[str]:
    """Matrices of blocks that are the weight of no linear (experts), by name within a block."""
    found: list[str] = []
    for block in anatomy.blocks_of(model):
        for owner, module in block.named_modules():
            if not isinstance(module, nn.Linear):
                found += [
                    f"{owner}.{name}".lstrip(".")
                    for name, parameter in module.named_parameters(recurse=False)
                    if parameter.ndim > 1
                ]
    return list(dict.fromkeys(found))


class _Holder(nn.Module):
    """A block, to be given other tensors once for all threads: they share its parameters."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, work: Callable[[], object]) -> None:
        """Do what is to be done meanwhile."""
        work()


class _SeenAll(Exception):
    """Ends a block's run once every linear has shown its input: the last product is not needed."""


@dataclass
class _Gathered:
    """A group while its inputs are gathered, by each worker in a statistic of its own."""

    names: list[str]
    parts: list[Statistic]
    sample: Tensor

    def whole(self) -> Group:
        """The group with what all workers have seen."""
        inputs, *others = self.parts
        for other in others:
            inputs.merge(other)
        return Group(self.names, self.sample.shape[-1], inputs, self.sample)


@dataclass
class _Seen:
    """What one micro-batch has shown: its linears, and its inputs for as long as they live."""

    batch: int
    worker: int
    linears: set[str] = field(default_factory=set)
    inputs: list[tuple[weakref.ref[Tensor], _Gathered]] = field(default_factory=list)

    def group_of(self, x: Tensor) -> _Gathered | None:
        """The group of an input it has shown before."""
        return next((group for other, group in self.inputs if other() is x), None)


class _Watch:
    """Takes in the inputs of a block's linears, of several micro-batches at once.

    Parameters
    ----------
    linears : how many there are to see. sampled : of each micro-batch, the tokens to keep; as many
        of all but the last.
    """

    def __init__(
        self, statistic: type[Statistic], linears: int, workers: int, sampled: list[range]
    ) -> None:
        self.groups: list[_Gathered] = []
        self._statistic = statistic
        self._linears = linears
        self._workers = workers
        self._sampled = sampled
        self._known: dict[str, _Gathered] = {}
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    def begin(self, batch: int, worker: int) -> _Seen:
        """From here on, what this thread shows is of this micro-batch."""
        seen = _Seen(batch, worker)
        self._of_thread.seen = seen
        return seen

    def show(self, name: str, x: Tensor) -> None:
        """Take in an input once, whichever of its linears comes first. Raises NotFinite."""
        seen: _Seen = self._of_thread.seen
        before = seen.group_of(x)
        group = self._group_of(name, x, before)
        if before is None:
            seen.inputs.append((weakref.ref(x), group))
            finite.checked(x, lambda: f"inputs of {name}, in {x.dtype},", _WAY_OUT)
            tokens, rows = self._sampled[seen.batch], x.flatten(0, -2)
            start = seen.batch * len(self._sampled[0])
            group.sample[start : start + len(tokens)] = rows[tokens.start :: tokens.step]
            group.parts[seen.worker].add(rows)
        seen.linears.add(name)
        if len(seen.linears) == self._linears:
            raise _SeenAll

    def _group_of(self, name: str, x: Tensor, before: _Gathered | None) -> _Gathered:
        """The group of a linear, which at first sight joins that of its input."""
        with self._lock:
            if name not in self._known:
                group = before or self._new_group(x)
                group.names.append(name)
                self._known[name] = group
            return self._known[name]

    def _new_group(self, x: Tensor) -> _Gathered:
        width = x.shape[-1]
        parts = [self._statistic(width, x.device) for _ in range(self._workers)]
        sample = x.new_empty(sum(map(len, self._sampled)), width)
        self.groups.append(_Gathered([], parts, sample))
        return self.groups[-1]


def _sequences(batch: slice) -> str:
    """A micro-batch's sequences, in words."""
    first, last = batch.start, batch.stop - 1
    return f"sequence {first}" if first == last else f"sequences {first} to {last}"


class _Nothing:
    """A statistic of methods that need none."""

    def __init__(self, in_features: int, device: torch.device) -> None:
        pass

    def add(self, x: Tensor) -> None:
        pass

    def merge(self, other: "_Nothing") -> None:
        pass

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        return 0


def _moved(call: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Every tensor among a call's arguments on the device, floating ones in the dtype."""
    if isinstance(call, Tensor):
        return call.to(device, dtype if call.is_floating_point() else None)
    if isinstance(call, (tuple, list)):
        return type(call)(_moved(part, device, dtype) for part in call)
    if isinstance(call, dict):
        return {name: _moved(part, device, dtype) for name, part in call.items()}
    return call


class ColumnNorms:
    """‖x_j‖₂ of every input over the calibration tokens, float64 sums of float32 parts."""

    def __init__(self, in_features: int, device: torch.device) -> None:
        self._squares = torch.zeros(in_features, dtype=torch.float64, device=device)

    def add(self, x: Tensor) -> None:
        """Add the squares of some tokens, (tokens, in_features)."""
        wide = torch.promote_types(x.dtype, torch.float32)
        sums = x.new_zeros(min(ROWS_TOGETHER, len(x)), x.shape[1], dtype=wide)
        for rows in x.split(ROWS_TOGETHER):
            some = rows.to(wide)
            sums[: len(rows)].addcmul_(some, some)
        self._squares += sums.sum(0)

    def merge(self, other: "ColumnNorms") -> None:
        """Add the squares another has seen."""
        self._squares += other._squares

    def norms(self) -> Tensor:
        """(in_features,) float32. Raises NotFinite where an input was not finite."""
        norms = self._squares.sqrt().float()
        return finite.checked(norms, "norms of a linear's calibration inputs")

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        """Bytes of the sums."""
        return 8 * in_features * workers
