"""Estimates of the theorems, one function each, from stored statistics.

Arguments and results are float64 arrays of the same shape.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def angular_estimate(relative_orthogonal_magnitude: Floats) -> Floats:
    """Theorem 1 (Eq. 6 for h, Eq. 7 for z): 1 - cos ≈ |Δ⊥|²/(2|·|²), of second order in Δ."""
    return relative_orthogonal_magnitude**2 / 2


def probability_angular_estimate(var_escort: Floats, temperature: Floats) -> Floats:
    """Theorem 2 (Eq. 8): 1 - cos(p, q) ≈ Var_r(Δz)/(2T²) with r ∝ p², of second order in Δz."""
    return var_escort / (2 * temperature**2)


def kl_estimate(var_p: Floats, temperature: Floats) -> Floats:
    """Theorem 3 (Eq. 9, 27): KL(p‖q) ≈ Var_p(Δz)/(2T²), of second order in Δz."""
    return var_p / (2 * temperature**2)


def kl_estimate_third(var_p: Floats, cumulant_3: Floats, temperature: Floats) -> Floats:
    """The series KL = Σ_{n≥2} κ_n(Δz/T)/n! under p, up to n = 3, which is not in the paper.

    Parameters
    ----------
    var_p : variance of Δz under p, in logits².
    cumulant_3 : third cumulant of Δz under p, in logits³.
    temperature : T of the softmax.
    """
    return kl_estimate(var_p, temperature) + cumulant_3 / (6 * temperature**3)


def kl_estimate_fourth(
    var_p: Floats, cumulant_3: Floats, cumulant_4: Floats, temperature: Floats
) -> Floats:
    """The series KL = Σ_{n≥2} κ_n(Δz/T)/n! under p, up to n = 4.

    It is not in the paper, and it diverges outside its radius of convergence.

    Parameters
    ----------
    var_p : variance of Δz under p, in logits².
    cumulant_3, cumulant_4 : third and fourth cumulant of Δz under p, in logits³ and logits⁴.
    temperature : T of the softmax.
    """
    third = kl_estimate_third(var_p, cumulant_3, temperature)
    return third + cumulant_4 / (24 * temperature**4)


def kl_bound(min_shift: Floats, max_shift: Floats, temperature: Floats) -> Floats:
    """KL(p‖q) ≤ (max X - min X)²/8 with X = Δz/T (Hoeffding's lemma), for shifts of any size.

    Parameters
    ----------
    min_shift, max_shift : smallest and largest Δz over the vocabulary, in logits.
    temperature : T of the softmax.
    """
    return ((max_shift - min_shift) / temperature) ** 2 / 8
