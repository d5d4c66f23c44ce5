"""The Hessian H = XᵀX of a linear's inputs X, and the factor of its inverse."""

import torch
from torch import Tensor

from prunescope.progress import LOG

DAMPING = 0.01
"""Share of the mean diagonal of H that is added to its diagonal (SparseGPT's percdamp)."""

ROWS_PER_PRODUCT = 192
"""Number of rows of H per matrix product.

H is symmetric. Of each of these blocks of rows, only the columns from its diagonal block on are
summed.
"""

LARGEST_DIRECT_INVERSE = 256
"""Largest width of a triangular matrix that is inverted by a single call.

Wider matrices are inverted by halves, which takes half the time.
"""


class Hessian:
    """H = XᵀX over the calibration inputs X, (tokens, in_features).

    H is half the Hessian of the output error |(Ŵ - W) X|² with respect to a row of weights (Frantar
    & Alistarh 2023, Eq. 2). Linears that read the same input share it.
    """

    def __init__(self, in_features: int, device: torch.device) -> None:
        self._sums = torch.zeros(in_features, in_features, device=device)

    def add(self, x: Tensor) -> None:
        """Add the inputs of some tokens, (tokens, in_features); sums are in float32."""
        wide = x.float()
        for start in range(0, wide.shape[1], ROWS_PER_PRODUCT):
            rows = slice(start, start + ROWS_PER_PRODUCT)
            self._sums[rows, start:].addmm_(wide[:, rows].T, wide[:, start:])

    def merge(self, other: "Hessian") -> None:
        """Add the sums of another instance."""
        self._sums += other._sums

    def matrix(self) -> Tensor:
        """H, (in_features, in_features) float32, exactly symmetric.

        The result is the tensor of the sums itself, to which `add` may add further tokens.
        """
        for start in range(0, len(self._sums), ROWS_PER_PRODUCT):
            rows = slice(start, start + ROWS_PER_PRODUCT)
            corner = self._sums[rows, rows]
            corner.copy_(corner.triu() + corner.triu(1).T)
            self._sums[rows.stop :, rows] = self._sums[rows, rows.stop :].T
        return self._sums

    @staticmethod
    def memory(in_features: int, workers: int) -> int:
        """Most bytes at a time.

        These are the matrices of all workers, or a single one and five temporary matrices from
        which its inverse factor is computed.
        """
        return max(workers, 6) * 4 * in_features**2


def inverse_factor(hessian: Tensor) -> Tensor:
    """The upper triangular factor U with H⁻¹ = UᵀU, for the damped H.

    U is found by one factorisation and one inverse of a triangular matrix. Reversing the order of
    rows and columns of H gives a matrix with a lower Cholesky factor L. Reversing those of L gives
    an upper triangular V with H = V Vᵀ, and U = V⁻¹.

    If H is still singular in float32, the damping grows tenfold, up to the mean diagonal itself,
    with a warning in the log.

    Parameters
    ----------
    hessian : H, (in, in).

    Returns
    -------
    U, (in, in).

    Raises
    ------
    ValueError
        if an input was not finite, or if no such damping is sufficient.
    """
    diagonal = hessian.diagonal()
    if not diagonal.isfinite().all():  # |H_jk|² <= H_jj H_kk
        raise ValueError(
            "calibration inputs of a linear are not finite: no Hessian. Calibrate in "
            "float32 or bfloat16 (compression/forward_dtype)."
        )
    # If all inputs are zero, the weights are ranked by w² alone.
    mean = float(diagonal.mean(dtype=torch.float64)) or 1.0
    for damping in (DAMPING, 10 * DAMPING, 100 * DAMPING):
        reversed_hessian = hessian.flip(0, 1)
        reversed_hessian.diagonal().add_(damping * mean)
        lower, failed = torch.linalg.cholesky_ex(reversed_hessian)
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
    """The inverse of an upper triangular matrix, (n, n) -> (n, n).

    Large matrices are inverted by halves, [[A, B], [0, D]]⁻¹ = [[A⁻¹, -A⁻¹ B D⁻¹], [0, D⁻¹]],
    because a triangular solver would also compute the zeros of the result.
    """
    if len(upper) <= LARGEST_DIRECT_INVERSE:
        # Stored column by column, as LAPACK demands, the identity is not copied.
        identity = torch.eye(len(upper), device=upper.device).T
        small: Tensor = torch.linalg.solve_triangular(upper, identity, upper=True)
        return small
    first, last = slice(len(upper) // 2), slice(len(upper) // 2, None)
    inverse = torch.zeros_like(upper)
    inverse[first, first] = _inverse(upper[first, first])
    inverse[last, last] = _inverse(upper[last, last])
    inverse[first, last] = -(inverse[first, first] @ upper[first, last] @ inverse[last, last])
    return inverse
