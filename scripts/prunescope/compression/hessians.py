"""Second-order statistics of a linear's inputs: H = XᵀX, summed by symmetric rank-k products."""

import torch
from torch import Tensor

from prunescope.progress import LOG

DAMPING = 0.01
"""Share of the mean diagonal that is added to it (SparseGPT's percdamp)."""

ROWS_TOGETHER = 192
"""Rows of H per product: only what lies on or right of the diagonal blocks is summed."""


INVERTED_AT_ONCE = 256
"""Up to this width a triangle is inverted by one call; halves take half the time above."""


class Hessian:
    """H = XᵀX over the calibration tokens X, (tokens, in_features).

    Half the Hessian of |(Ŵ - W) X|² in a row of weights (Frantar & Alistarh 2023, Eq. 2). Linears
    that read one input share it.
    """

    def __init__(self, in_features: int, device: torch.device) -> None:
        self._sums = torch.zeros(in_features, in_features, device=device)

    def add(self, x: Tensor) -> None:
        """Add the products of some tokens, (tokens, in_features), summed in float32."""
        wide = x.float()
        for start in range(0, wide.shape[1], ROWS_TOGETHER):
            rows = slice(start, start + ROWS_TOGETHER)
            self._sums[rows, start:].addmm_(wide[:, rows].T, wide[:, start:])

    def merge(self, other: "Hessian") -> None:
        """Add the products another has summed."""
        self._sums += other._sums

    def matrix(self) -> Tensor:
        """H, (in_features, in_features) float32, symmetric to the bit; the sums themselves."""
        for start in range(0, len(self._sums), ROWS_TOGETHER):
            rows = slice(start, start + ROWS_TOGETHER)
            corner = self._sums[rows, rows]
            corner.copy_(corner.triu() + corner.triu(1).T)
            self._sums[rows.stop :, rows] = self._sums[rows, rows.stop :].T
        return self._sums

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        """Bytes of each worker's matrix, or of one and the five its inverse factor is made from."""
        return max(workers, 6) * 4 * in_features**2


def inverse_factor(hessian: Tensor) -> Tensor:
    """U, upper triangular, with H⁻¹ = UᵀU for the damped H; (in, in) -> (in, in).

    H turned by 180 degrees has a lower Cholesky factor L; turned back it is V, upper triangular
    with H = V Vᵀ, and U = V⁻¹: one factorisation and one triangular inverse. Where float32 still
    finds H singular, damping grows tenfold, up to the mean diagonal itself, and the log says so.

    Raises ValueError where an input was not finite, or where no such damping is enough.
    """
    diagonal = hessian.diagonal()
    if not diagonal.isfinite().all():  # |H_jk|² <= H_jj H_kk
        raise ValueError(
            "calibration inputs of a linear are not finite: no Hessian. Calibrate in "
            "float32 or bfloat16 (compression/forward_dtype)."
        )
    # Inputs that are all zero rank by w² alone.
    mean = float(diagonal.mean(dtype=torch.float64)) or 1.0
    for damping in (DAMPING, 10 * DAMPING, 100 * DAMPING):
        turned = hessian.flip(0, 1)
        turned.diagonal().add_(damping * mean)
        lower, failed = torch.linalg.cholesky_ex(turned)
        if not failed:
            break
        LOG.warning("a Hessian is singular with %g of its mean diagonal added", damping)
    else:
        raise ValueError(
            "the Hessian of a linear's inputs is not positive definite, even with its mean "
            "diagonal added. Calibrate in float32 (compression/forward_dtype)."
        )
    return _inverse(lower.flip(0, 1))


def _inverse(upper: Tensor) -> Tensor:
    """The inverse of an upper triangular matrix, by halves: a solver would fill in all its zeros.

    [[A, B], [0, D]]⁻¹ = [[A⁻¹, -A⁻¹ B D⁻¹], [0, D⁻¹]].
    """
    if len(upper) <= INVERTED_AT_ONCE:
        by_columns = torch.eye(len(upper), device=upper.device).T  # as LAPACK stores: no copy
        small: Tensor = torch.linalg.solve_triangular(upper, by_columns, upper=True)
        return small
    first, last = slice(len(upper) // 2), slice(len(upper) // 2, None)
    inverse = torch.zeros_like(upper)
    inverse[first, first] = _inverse(upper[first, first])
    inverse[last, last] = _inverse(upper[last, last])
    inverse[first, last] = -(inverse[first, first] @ upper[first, last] @ inverse[last, last])
    return inverse
