"""Each estimate has the documented order, and agrees with closed forms."""

import numpy as np
import pytest
import torch

from prunescope.measures import metrics
from prunescope.theory import estimates


def _errors(generator, scales, temperature):
    """Absolute error of each estimate for shifts of several scales, by name of the estimate."""
    z, delta_z = torch.randn(2, 1, 300, generator=generator, dtype=torch.float64)
    errors = {}
    for scale in scales:
        shift = scale * delta_z
        p = (z / temperature).softmax(-1)
        q = ((z + shift) / temperature).softmax(-1)
        s = {
            n: v.numpy()
            for n, v in metrics.probability_shift(z, shift, p, q, temperature)._asdict().items()
        }
        g = metrics.geometry(z, shift)
        t = np.float64(temperature)
        compared = {
            "angular z": (
                estimates.angular_estimate(g.relative_orthogonal_magnitude.numpy()),
                g.angular_deviation.numpy(),
            ),
            "angular p": (
                estimates.probability_angular_estimate(s["var_escort"], t),
                s["angular_deviation"],
            ),
            "kl 2": (estimates.kl_estimate(s["var_p"], t), s["kl_divergence"]),
            "kl 3": (
                estimates.kl_estimate_third(s["var_p"], s["cumulant_3"], t),
                s["kl_divergence"],
            ),
            "kl 4": (
                estimates.kl_estimate_fourth(s["var_p"], s["cumulant_3"], s["cumulant_4"], t),
                s["kl_divergence"],
            ),
        }
        for name, (estimated, measured) in compared.items():
            errors.setdefault(name, []).append(abs(float((estimated - measured).item())))
    return errors


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("name", "first_neglected"),
    [("angular z", 3), ("angular p", 3), ("kl 2", 3), ("kl 3", 4), ("kl 4", 5)],
)
def test_halving_the_shift_divides_the_error_by_its_order(
    generator, name, first_neglected, temperature
):
    """The first neglected term gives a factor of 2³ for the theorems, 2⁴ and 2⁵ for the others."""
    larger, smaller = _errors(generator, (0.01 * temperature, 0.005 * temperature), temperature)[
        name
    ]
    assert larger / smaller == pytest.approx(2**first_neglected, rel=0.12)


def test_two_tokens_in_closed_form():
    """KL of two tokens with equal p and ΔX = 8 is 3.3 nats; its fourth-order estimate is -13."""
    z = torch.zeros(1, 2, dtype=torch.float64)
    delta_z = torch.tensor([[4.0, -4.0]], dtype=torch.float64)
    p, q = z.softmax(-1), delta_z.softmax(-1)
    s = metrics.probability_shift(z, delta_z, p, q, 1.0)
    assert float(s.kl_divergence) == pytest.approx(np.log(np.cosh(4.0)))
    fourth = estimates.kl_estimate_fourth(
        s.var_p.numpy(), s.cumulant_3.numpy(), s.cumulant_4.numpy(), np.float64(1)
    )
    assert fourth.item() == pytest.approx(16 / 2 - 2 * 256 / 24)
