"""Statistics of the inputs of linears, which methods choose and a block walk sums over tokens."""

from typing import Protocol, Self

import torch
from torch import Tensor

from prunescope import finite

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


class NoStatistic:
    """The statistic of methods that need none."""

    def __init__(self, in_features: int, device: torch.device) -> None:
        pass

    def add(self, x: Tensor) -> None:
        """Ignore the inputs."""

    def merge(self, other: "NoStatistic") -> None:
        """Do nothing, as there is nothing to add."""

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        """Zero bytes."""
        return 0
