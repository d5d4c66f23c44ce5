"""All metrics equal a separate implementation in higher precision."""

import mpmath
import numpy as np
import pytest
import torch

from prunescope.measures import metrics
from prunescope.model import unembedding
from prunescope.theory import estimates


def _pair(generator, scale, temperature, vocabulary=150, dtype=torch.float64):
    z = 4 * torch.randn(2, vocabulary, generator=generator, dtype=torch.float64)
    delta_z = scale * torch.randn(2, vocabulary, generator=generator, dtype=torch.float64)
    z, delta_z = z.to(dtype), delta_z.to(dtype)
    p = unembedding.probabilities(z, temperature)
    q = unembedding.probabilities(z + delta_z, temperature)
    return z, delta_z, p, q


def _oracle(z, delta_z, temperature):
    """KL in both directions, 1 - cos(p, q) and moments of Δz, with 50 digits."""
    with mpmath.workdps(50):
        t = mpmath.mpf(temperature)
        zs = [mpmath.mpf(float(x)) / t for x in z]
        ds = [mpmath.mpf(float(x)) for x in delta_z]
        top = max(zs)
        e = [mpmath.exp(a - top) for a in zs]
        f = [mpmath.exp(a + d / t - top) for a, d in zip(zs, ds, strict=True)]
        p = [a / sum(e) for a in e]
        q = [a / sum(f) for a in f]
        kl = sum(a * mpmath.log(a / b) for a, b in zip(p, q, strict=True))
        reverse = sum(b * mpmath.log(b / a) for a, b in zip(p, q, strict=True))
        cosine = sum(a * b for a, b in zip(p, q, strict=True)) / mpmath.sqrt(
            sum(a * a for a in p) * sum(b * b for b in q)
        )

        def moment(weights, n):
            mean = sum(w * d for w, d in zip(weights, ds, strict=True))
            return sum(w * (d - mean) ** n for w, d in zip(weights, ds, strict=True))

        r = [a * a / sum(b * b for b in p) for a in p]
        return {
            "kl_divergence": kl,
            "reverse_kl_divergence": reverse,
            "angular_deviation": 1 - cosine,
            "mean_p": sum(a * d for a, d in zip(p, ds, strict=True)),
            "var_p": moment(p, 2),
            "var_escort": moment(r, 2),
            "cumulant_3": moment(p, 3),
            "cumulant_4": moment(p, 4) - 3 * moment(p, 2) ** 2,
        }


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.5])
@pytest.mark.parametrize("scale", [1e-9, 1e-4, 0.05, 1.0, 5.0, 60.0])
def test_probability_shift_equals_oracle_in_float64(generator, scale, temperature):
    """With nine digits, for shifts from the size of rounding errors to hundreds of logits."""
    z, delta_z, p, q = _pair(generator, scale, temperature)
    shift = metrics.probability_shift(z, delta_z, p, q, temperature)._asdict()
    for row in range(len(z)):
        for name, value in _oracle(z[row], delta_z[row], temperature).items():
            # The fourth cumulant is a difference, whose error is compared with its terms.
            floor = 1e-9 * float(shift["var_p"][row]) ** 2 if name == "cumulant_4" else 0
            # p and q are rounded by 1e-16, which is 1e-16/scale of their difference.
            rel = max(1e-7, 1e-14 / scale)
            assert float(shift[name][row]) == pytest.approx(float(value), rel=rel, abs=floor), name


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.5])
@pytest.mark.parametrize("scale", [1e-3, 0.05, 1.0, 5.0, 60.0])
def test_kl_in_float32_has_three_digits(generator, scale, temperature):
    """In both directions, the relative error is below 1e-3."""
    z, delta_z, p, q = _pair(generator, scale, temperature, dtype=torch.float32)
    measured = metrics.probability_shift(z, delta_z, p, q, temperature)
    for row in range(len(z)):
        oracle = _oracle(z[row], delta_z[row], temperature)
        assert float(measured.kl_divergence[row]) == pytest.approx(
            float(oracle["kl_divergence"]), rel=1e-3
        )
        assert float(measured.reverse_kl_divergence[row]) == pytest.approx(
            float(oracle["reverse_kl_divergence"]), rel=1e-3
        )


def test_float32_and_float64_sums_agree_on_saturated_rows(generator):
    """One token has nearly all the probability, others shift by hundreds; KL is 1e-20 to 100."""
    z = 40 * torch.randn(64, 500, generator=generator)
    delta_z = torch.logspace(-3, 2, 64)[:, None] * torch.randn(64, 500, generator=generator)
    p, q = z.softmax(-1), (z + delta_z).softmax(-1)
    kl, both = metrics.kl_in_float64(z, delta_z, 1.0)
    measured = metrics.probability_shift(z, delta_z, p, q, 1.0)
    torch.testing.assert_close(measured.kl_divergence.double(), kl, rtol=3e-4, atol=1e-30)
    large = (both - kl) > 1e-3 * kl  # the reverse KL is a difference of the two
    torch.testing.assert_close(
        measured.reverse_kl_divergence.double()[large], (both - kl)[large], rtol=2e-3, atol=1e-30
    )


def test_kl_near_and_far_from_dense_agree_with_float64(generator):
    """From 1e-9 to hundreds in both directions, although the method of computation changes."""
    z = 5 * torch.randn(96, 2000, generator=generator) + 20
    delta_z = torch.logspace(-4, 1.5, 96)[:, None] * torch.randn(96, 2000, generator=generator)
    for temperature in (0.3, 0.7, 1.5):
        p = unembedding.probabilities(z, temperature)
        q = unembedding.probabilities(z + delta_z, temperature)
        kl, both = metrics.kl_in_float64(z, delta_z, temperature)
        assert kl.min() < 1e-7
        assert kl.max() > 50
        measured = metrics.probability_shift(z, delta_z, p, q, temperature)
        torch.testing.assert_close(measured.kl_divergence.double(), kl, rtol=3e-4, atol=0)
        torch.testing.assert_close(
            measured.reverse_kl_divergence.double(), both - kl, rtol=3e-4, atol=0
        )


@pytest.mark.parametrize("growth", [20.0, 50.0, 90.0])
def test_tokens_whose_probability_underflows_contribute_to_kl(growth):
    """p = e^-95 is 0 in float32, but KL = log1p(p (e^Y - 1 - Y)) comes from this token alone."""
    z, delta_z = torch.zeros(1, 8), torch.zeros(1, 8)
    z[0, 1:], delta_z[0, 1] = -95.0, growth
    p, q = z.softmax(-1), (z + delta_z).softmax(-1)
    measured = metrics.probability_shift(z, delta_z, p, q, 1.0)
    expected = np.log1p(np.exp(-95.0) * (np.expm1(growth) - growth))
    assert float(measured.kl_divergence) == pytest.approx(expected, rel=1e-4)


def test_moments_in_float32_survive_a_large_common_shift(generator):
    """Variances and cumulants are precise although the mean is a hundred times their root."""
    z = 3 * torch.randn(8, 3000, generator=generator)
    delta_z = 0.5 * torch.randn(8, 3000, generator=generator) + 50
    narrow = metrics.probability_shift(
        z, delta_z, z.softmax(-1), (z + delta_z).softmax(-1), 1.0
    )._asdict()
    wide_z, wide_delta = z.double(), delta_z.double()
    p = wide_z.softmax(-1)
    r = p**2 / (p**2).sum(-1, keepdim=True)
    mean = (p * wide_delta).sum(-1)
    y = wide_delta - mean[:, None]
    escort_y = wide_delta - (r * wide_delta).sum(-1, keepdim=True)
    for name, expected in {
        "mean_p": mean,
        "var_p": (p * y**2).sum(-1),
        "var_escort": (r * escort_y**2).sum(-1),
        "cumulant_3": (p * y**3).sum(-1),
    }.items():
        torch.testing.assert_close(narrow[name].double(), expected, rtol=2e-5, atol=2e-6)


def test_log_growth_of_the_caller_gives_the_same_result(generator):
    """A caller may compute log E_p[e^X] from log-sum-exps that rows share."""
    for scale in (1e-3, 3.0):
        z, delta_z, p, q = _pair(generator, scale, 0.7)
        log_growth = torch.logsumexp((z + delta_z) / 0.7, -1) - torch.logsumexp(z / 0.7, -1)
        given = metrics.probability_shift(z, delta_z, p, q, 0.7, log_growth)
        for measured, expected in zip(
            given, metrics.probability_shift(z, delta_z, p, q, 0.7), strict=True
        ):
            torch.testing.assert_close(measured, expected)


def test_no_shift_is_exactly_zero(generator):
    """All deviations and moments of a state from itself are 0, and not 1e-17."""
    z = torch.randn(3, 1000, generator=generator)
    zero = torch.zeros_like(z)
    p = z.softmax(-1)
    every = (
        *metrics.probability_shift(z, zero, p, p, 1.0),
        *metrics.geometry(z, zero),
        *metrics.uniform_shift(zero),
    )
    assert all((value == 0).all() for value in every)


@pytest.mark.parametrize("angle", [1e-6, 1e-3, 0.5, 3.0])
def test_angular_deviation_is_one_minus_cosine_of_the_angle(angle):
    """For a known angle; at 1e-6, the subtraction 1 - cos would give only rounding errors."""
    dense = torch.tensor([3.0, 0.0, 4.0])
    orthogonal = torch.tensor([0.0, 1.0, 0.0])
    turned = np.cos(angle) * dense / 5 + np.sin(angle) * orthogonal
    expected = 2 * np.sin(angle / 2) ** 2
    assert float(metrics.angular_deviation(dense, 7 * turned)) == pytest.approx(expected, rel=1e-4)


def test_norm_of_a_peaked_vector_is_precise_in_float32():
    """One large element does not hide the sum of fifty thousand small ones."""
    u = torch.full((1, 50_000), 2e-4)
    u[0, 0] = 1.0
    expected = (u.double() ** 2).sum(-1).sqrt()
    torch.testing.assert_close(metrics.norm(u).double(), expected, rtol=2e-6, atol=0)


def test_geometry_splits_the_shift_by_pythagoras(generator):
    """|Δ∥|² + |Δ⊥|² = |Δ|², and a change of length alone has no angle."""
    dense, delta = torch.randn(2, 5, 300, generator=generator, dtype=torch.float64)
    measured = metrics.geometry(dense, delta)
    whole = (delta.norm(dim=-1) / dense.norm(dim=-1)) ** 2
    parts = measured.relative_orthogonal_magnitude**2 + measured.relative_parallel_magnitude**2
    torch.testing.assert_close(parts, whole)
    stretched = metrics.geometry(dense, 0.3 * dense)
    assert stretched.relative_orthogonal_magnitude.max() < 1e-14
    assert stretched.angular_deviation.max() < 1e-28
    torch.testing.assert_close(
        stretched.relative_parallel_magnitude, torch.full((5,), 0.3).double()
    )


def test_uniform_shift_equals_numpy(generator):
    """For mean, population variance and range over the vocabulary."""
    delta_z = torch.randn(4, 777, generator=generator, dtype=torch.float64)
    measured = metrics.uniform_shift(delta_z)
    array = delta_z.numpy()
    np.testing.assert_allclose(measured.mean_uniform, array.mean(-1))
    np.testing.assert_allclose(measured.var_uniform, array.var(-1))
    np.testing.assert_allclose(measured.min_shift, array.min(-1))
    np.testing.assert_allclose(measured.max_shift, array.max(-1))


def test_a_constant_shift_of_all_logits_changes_no_probability(generator):
    """KL and variances do not change either."""
    z, delta_z, p, q = _pair(generator, 0.5, 0.7)
    constant = metrics.probability_shift(z, delta_z + 11.0, p, q, 0.7)
    plain = metrics.probability_shift(z, delta_z, p, q, 0.7)
    for name in ("kl_divergence", "reverse_kl_divergence", "var_p", "var_escort", "cumulant_3"):
        torch.testing.assert_close(getattr(constant, name), getattr(plain, name))


def test_unembed_takes_half_precision_weights_in_float32(generator):
    """Logits of a bfloat16 lm_head equal those of its weights in float32, in all tiles."""
    lm_head = torch.nn.Linear(32, unembedding.VOCABULARY_TILE + 100, bias=True).bfloat16()
    h = torch.randn(5, 32, generator=generator).bfloat16()
    with torch.inference_mode():
        z = unembedding.Unembedding(lm_head)(h)
    assert z.dtype == torch.float32
    expected = h.float() @ lm_head.weight.float().T + lm_head.bias.float()
    torch.testing.assert_close(z, expected)


def test_kl_never_exceeds_the_bound(generator):
    """Hoeffding's lemma holds also for shifts that are too large for second-order estimates."""
    for scale in (0.01, 1.0, 30.0):
        z, delta_z, p, q = _pair(generator, scale, 1.0)
        kl = metrics.probability_shift(z, delta_z, p, q, 1.0).kl_divergence.numpy()
        spread = metrics.uniform_shift(delta_z)
        bound = estimates.kl_bound(
            spread.min_shift.numpy(), spread.max_shift.numpy(), np.float64(1)
        )
        assert (kl <= bound).all()
