"""Hessians equal their definition for any order of tokens, and their factors invert them."""

import logging

import pytest
import torch

from prunescope.compression.hessians import DAMPING, Hessian, inverse_factor


def _hessian(x, *parts):
    """The Hessian of x, to which its rows are added in parts of the given sizes."""
    hessian = Hessian(x.shape[1], x.device)
    for part in x.split(list(parts) or [len(x)]):
        hessian.add(part)
    return hessian.matrix()


@pytest.mark.parametrize("width", [1, 24, 192, 193, 500])
def test_hessian_equals_the_product_in_float64(width, generator):
    """It is exactly symmetric, although only half of the products are computed."""
    x = torch.randn(300, width, generator=generator)
    hessian = _hessian(x)
    torch.testing.assert_close(hessian.double(), x.double().T @ x.double(), rtol=1e-4, atol=1e-3)
    assert torch.equal(hessian, hessian.T)


def test_tokens_can_be_added_after_reading_the_matrix(generator):
    """The result is the sum over all tokens."""
    x = torch.randn(300, 200, generator=generator)
    hessian = Hessian(200, x.device)
    for part in x.split(100):
        hessian.add(part)
        assert torch.equal(hessian.matrix(), hessian.matrix().T)
    torch.testing.assert_close(hessian.matrix(), _hessian(x), rtol=1e-5, atol=1e-4)


def test_order_and_size_of_parts_change_nothing_beyond_rounding(generator):
    x = torch.randn(300, 40, generator=generator)
    whole = _hessian(x)
    torch.testing.assert_close(_hessian(x, 1, 99, 200), whole, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(_hessian(x.flip(0), 150, 150), whole, rtol=1e-5, atol=1e-4)


def test_bfloat16_inputs_are_summed_in_float32(generator):
    """A bfloat16 sum of 4096 ones would stop at 256."""
    x = torch.ones(4096, 3, dtype=torch.bfloat16)
    assert torch.equal(_hessian(x), torch.full((3, 3), 4096.0))


@pytest.mark.parametrize("width", [50, 600])
def test_factor_inverts_the_damped_hessian(width, generator):
    """Uᵀ U H = 1, and U_jj² = [(H_{j:,j:})⁻¹]₀₀ from inverses in float64."""
    mixed = torch.randn(width, width, generator=generator)
    hessian = _hessian(torch.randn(8 * width, width, generator=generator) @ mixed)
    factor = inverse_factor(hessian).double()
    one = torch.eye(width).double()
    damped = hessian.double() + DAMPING * hessian.double().diagonal().mean() * one
    assert torch.equal(factor, factor.triu())
    torch.testing.assert_close(factor.T @ factor @ damped, one, rtol=0, atol=1e-2)
    for j in (0, 17, width - 1):
        corner = torch.linalg.inv(damped[j:, j:])[0, 0]
        assert float(factor[j, j] ** 2) == pytest.approx(float(corner), rel=1e-3)


def test_fewer_tokens_than_inputs_are_enough(generator):
    """A Hessian of rank 3 and width 60 is invertible because of damping."""
    factor = inverse_factor(_hessian(torch.randn(3, 60, generator=generator)))
    assert factor.isfinite().all()


def test_a_hessian_of_zeros_gives_all_inputs_the_same_rank():
    factor = inverse_factor(torch.zeros(5, 5))
    assert factor.diagonal().unique().numel() == 1
    assert torch.equal(factor, factor.diag().diag())


def test_an_input_that_is_always_zero_has_only_the_damping(generator):
    """1/U_jj² is λ for such an input and at least λ for others; its row of U is zero elsewhere."""
    x = torch.randn(30, 20, generator=generator)
    x[:, [4, 11]] = 0
    hessian = _hessian(x)
    factor = inverse_factor(hessian)
    cost = factor.diagonal() ** -2 / (DAMPING * hessian.diagonal().mean())
    torch.testing.assert_close(cost[[4, 11]], torch.ones(2))
    assert cost.min() > 0.999
    assert factor[4, 5:].count_nonzero() == factor[11, 12:].count_nonzero() == 0


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_factor_of_scaled_inputs_is_scaled_back(scale, generator):
    """U(c X) = U(X) / c, with sums near the limits of float32."""
    x = torch.randn(80, 20, generator=generator)
    torch.testing.assert_close(
        inverse_factor(_hessian(x * scale)) * scale, inverse_factor(_hessian(x))
    )


def test_damping_grows_if_necessary_with_a_warning(caplog):
    """A matrix that is slightly indefinite, as by rounding, is damped; any other one is refused."""
    with caplog.at_level(logging.WARNING, logger="prunescope"):
        assert inverse_factor(torch.tensor([[1.0, 1.05], [1.05, 1.0]])).isfinite().all()
    assert "singular with 0.01" in caplog.text
    with pytest.raises(ValueError, match="not positive definite"):
        inverse_factor(torch.tensor([[1.0, 3.0], [3.0, 1.0]]))


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_inputs_that_are_not_finite_are_refused(value):
    """The diagonal shows them, wherever they are."""
    with pytest.raises(ValueError, match="not finite"):
        inverse_factor(_hessian(torch.tensor([[1.0, 1.0, 1.0], [1.0, value, 1.0]])))
