"""Second-order statistics of a linear's inputs: H = XᵀX, summed by symmetric rank-k products."""

import torch
from torch import Tensor

from prunescope.progress import LOG

DAMPING = 0.01
"""Share of the mean diagonal that is added to it (SparseGPT's percdamp)."""

ROWS_TOGETHER = 192
"""Rows of H per product: only what lies on or right of the diagonal blocks is summed."""


class Hessian:
    """H = XᵀX over the calibration tokens X, (tokens, in_features).

    Half the Hessian of |(Ŵ - W) X|² in a row of weights (Frantar & Alistarh 2023, Eq. 2). Linears
    that read one input share it.
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


def inverse_factor(hessian: Tensor) -> Tensor:
    """U, upper triangular, with H⁻¹ = UᵀU for the damped H; (in, in) -> (in, in).

    H turned by 180 degrees has a lower Cholesky factor L; turned back it is V, upper triangular
    with H = V Vᵀ, and U = V⁻¹: one factorisation and one triangular inverse. Where float32 still
    finds H singular, damping grows tenfold and the log says so.

    Raises ValueError where an input was not finite.
    """
    if not hessian.isfinite().all():
        raise ValueError(
            "calibration inputs of a linear are not finite: no Hessian. Calibrate in "
            "float32 or bfloat16 (compression/forward_dtype)."
        )
    mean = float(hessian.diagonal().mean()) or 1.0  # inputs that are all zero rank by w² alone
    identity = torch.eye(len(hessian), device=hessian.device)
    damping = DAMPING
    while True:
        damped = torch.add(hessian, identity, alpha=damping * mean)
        lower, failed = torch.linalg.cholesky_ex(damped.flip(0, 1))
        if not failed:
            break
        damping *= 10
        LOG.warning("a Hessian is singular: damping raised to %g of its mean diagonal", damping)
    factor: Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
    return factor
