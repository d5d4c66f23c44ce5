"""Second-order statistics of a linear's inputs: H = XᵀX, summed by symmetric rank-k products."""

import torch
from torch import Tensor

ROWS_TOGETHER = 192
"""Rows of H per product: only what lies on or right of the diagonal blocks is summed."""


class Hessian:
    """H = XᵀX over the calibration tokens X, (tokens, in_features): half the loss's Hessian in a
    row of weights (Frantar & Alistarh 2023, Eq. 2). Linears that read one input share it.
    """

    def __init__(self, in_features: int, device: torch.device) -> None:
        self._upper = torch.zeros(in_features, in_features, device=device)

    def add(self, x: Tensor) -> None:
        """Add the products of some tokens, (tokens, in_features), summed in float32."""
        wide = x.float()
        for start in range(0, wide.shape[1], ROWS_TOGETHER):
            rows = slice(start, start + ROWS_TOGETHER)
            self._upper[rows, start:].addmm_(wide[:, rows].T, wide[:, start:])

    def matrix(self) -> Tensor:
        """H, (in_features, in_features) float32, symmetric to the bit."""
        return self._upper.triu() + self._upper.triu(1).T

    @staticmethod
    def memory(in_features: int) -> int:
        """Bytes of the sums, of the whole matrix, and of its inverse factor beside it."""
        return 3 * 4 * in_features**2
