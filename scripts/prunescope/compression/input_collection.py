"""Collect the inputs of a block's linears while calibration text runs through the block.

A hook before each linear hands its input to a `Collector`, which several threads share: each runs
its own micro-batches and adds to its own statistic, and the statistics are merged at the end. A
linear that reads the very tensor that another linear has read (as q, k and v do) joins its group,
so that each input is summed once. After the last linear has been called, an exception ends the pass
through the block, because its output is not needed.
"""

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from prunescope import finite
from prunescope.compression.block import Group
from prunescope.compression.input_statistics import Statistic

SAMPLED_TOKENS = 128
"""Least number of tokens, evenly spaced, on which the output error of each linear is measured."""

LARGEST_STRIDE = 64
"""Largest distance between sampled tokens.

Because of it, more than `SAMPLED_TOKENS` are sampled from a large calibration set.
"""

REMEDY = f"{finite.REMEDY} For calibration passes alone, set compression/forward_dtype."


def sampled_tokens(batches: Sequence[slice], n_sequences: int, length: int) -> list[range]:
    """The tokens of each micro-batch on which output errors are measured.

    Parameters
    ----------
    batches : slices of the sequences, one per micro-batch.
    n_sequences, length : number of calibration sequences, and tokens in each.
    """
    stride = min(LARGEST_STRIDE, max(1, n_sequences * length // SAMPLED_TOKENS))
    return [range(stride // 2, (batch.stop - batch.start) * length, stride) for batch in batches]


class AllLinearsCalled(Exception):
    """Ends the pass through a block once the inputs of all linears are known.

    The product of the last linear is not needed.
    """


@dataclass
class CollectedGroup:
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
class BatchProgress:
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
    inputs: list[tuple[weakref.ref[Tensor], CollectedGroup]] = field(default_factory=list)

    def group_of(self, x: Tensor) -> CollectedGroup | None:
        """The group of an input that another linear has read before; None for a new input."""
        return next((group for other, group in self.inputs if other() is x), None)


class Collector:
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
        self.groups: list[CollectedGroup] = []
        self._statistic = statistic
        self._n_linears = n_linears
        self._workers = workers
        self._sampled = sampled
        self._group_by_linear: dict[str, CollectedGroup] = {}
        self._lock = threading.Lock()
        self._thread = threading.local()

    def begin(self, batch: int, worker: int) -> BatchProgress:
        """Start a micro-batch, to which all further inputs of the calling thread belong."""
        batch_progress = BatchProgress(batch, worker)
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
        AllLinearsCalled
            if this was the last linear of the block.
        """
        batch: BatchProgress = self._thread.progress
        known = batch.group_of(x)
        group = self._group_of(name, x, known)
        if known is None:
            batch.inputs.append((weakref.ref(x), group))
            finite.checked(x, lambda: f"inputs of {name}, in {x.dtype},", REMEDY)
            tokens, rows = self._sampled[batch.batch], x.flatten(0, -2)
            start = batch.batch * len(self._sampled[0])
            group.sample[start : start + len(tokens)] = rows[tokens.start :: tokens.step]
            group.parts[batch.worker].add(rows)
        batch.linears.add(name)
        if len(batch.linears) == self._n_linears:
            raise AllLinearsCalled

    def _group_of(self, name: str, x: Tensor, known: CollectedGroup | None) -> CollectedGroup:
        """The group of a linear; at its first call it joins the group of its input."""
        with self._lock:
            if name not in self._group_by_linear:
                group = known or self._new_group(x)
                group.names.append(name)
                self._group_by_linear[name] = group
            return self._group_by_linear[name]

    def _new_group(self, x: Tensor) -> CollectedGroup:
        width = x.shape[-1]
        parts = [self._statistic(width, x.device) for _ in range(self._workers)]
        sample = x.new_empty(sum(map(len, self._sampled)), width)
        self.groups.append(CollectedGroup([], parts, sample))
        return self.groups[-1]
