"""Matrix products by oneDNN equal those in float64, for weights in either layout."""

import pytest
import torch
from torch import nn

from prunescope.compression.blockwise import Calibration
from prunescope.compression.methods import load
from prunescope.machine import products
from prunescope.model import loading
from prunescope.model.edits import Edit
from tiny import ARCHITECTURES, tiny_model

IDS = torch.randint(3, 100, (4, 11), generator=torch.Generator().manual_seed(2))

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


@pytest.mark.parametrize("rows", [(1,), (7,), (3, 5), (2, 3, 50)], ids=str)
@pytest.mark.parametrize("biased", [False, True])
def test_products_equal_those_in_float64(rows, biased, generator):
    """Up to the rounding of a sum of 40 terms, for any number of leading dimensions."""
    x, weight = (torch.randn(*size, 40, generator=generator) for size in (rows, (17,)))
    bias = torch.randn(17, generator=generator) if biased else None
    exact = nn.functional.linear(*(t if t is None else t.double() for t in (x, weight, bias)))
    bound = 40 * 2**-23 * (x.abs().double() @ weight.abs().double().T + 1)
    for read in (weight, products.ordered(weight)):
        product = products.linear(x, read, bias)
        assert product.shape == (*rows, 17)
        assert ((product - exact).abs() <= bound).all()


def test_products_are_written_into_the_given_memory(generator):
    """There are more rows than in one product, and the memory is part of a larger tensor."""
    x, weight = torch.randn(150, 24, generator=generator), torch.randn(9, 24, generator=generator)
    whole = torch.full((160, 9), torch.nan)
    for read in (weight, products.ordered(weight)):
        products.linear_into(whole[:150], x, read)
        torch.testing.assert_close(whole[:150], x @ weight.T)
    assert whole[150:].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_left_to_torch(dtype, generator):
    """Their weights are not reordered, and products are bit for bit those of torch."""
    x = torch.randn(5, 24, generator=generator).to(dtype)
    weight = torch.randn(9, 24, generator=generator).to(dtype)
    assert products.ordered(weight) is weight
    assert torch.equal(products.linear(x, weight), nn.functional.linear(x, weight))


def test_torch_computes_products_with_gradients(generator):
    """If gradients are required, the product is torch's."""
    linear = nn.Linear(6, 4)
    x = torch.randn(3, 6, generator=generator)
    products.use(linear)(x).sum().backward()
    torch.testing.assert_close(linear.weight.grad, x.sum(0).expand(4, 6))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_logits_of_a_model_are_unchanged(architecture):
    """For dense and for a variant that shares its weights, before and after reordering."""
    dense = tiny_model(architecture)
    variant = loading.apply_edit(dense, Edit(dropped={"mlp": (0,)}))
    before = [model(IDS).logits for model in (dense, variant)]
    for model in (dense, variant):
        products.use(model)
    plain = [model(IDS).logits for model in (dense, variant)]
    products.order_weights(dense, variant)
    in_order = [model(IDS).logits for model in (dense, variant)]
    torch.testing.assert_close(plain, before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(in_order, before, rtol=1e-4, atol=1e-5)
    one, other = (dict(model.named_parameters()) for model in (dense, variant))
    assert all(other[name] is one[name] for name in other)


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "awq", "neuron"])
def test_methods_get_the_same_inputs(method):
    """Relative output errors of all linears are equal with and without reordered weights."""
    settings = {"awq": {"bits": 4, "group_size": 8}}.get(method, {"sparsity": 0.5})
    tables = []
    for prepared in (tiny_model("qwen3"), products.use(tiny_model("qwen3"))):
        _, report = load(method)(prepared, Calibration(IDS), **settings)
        tables.append(report.column("relative_output_error").to_pylist())
    assert tables[1] == pytest.approx(tables[0], rel=1e-3)
