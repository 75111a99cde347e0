"""Rows in 8 bits, and linear layers of them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from asvtk.nn.float8 import FLOAT8, Float8Linear, quantise_rows


@pytest.mark.parametrize("gelu", [False, True])
def test_rows_are_scaled_to_their_largest_number(gelu):
    torch.manual_seed(0)
    x = torch.randn(5, 64) * torch.tensor([1e-3, 1, 100, 1e4, 0])[:, None]
    rows, scale = quantise_rows(x, gelu)
    expected = F.gelu(x) if gelu else x
    assert rows.dtype == FLOAT8 and rows.float()[:4].abs().amax(1).tolist() == [448] * 4
    error = (rows.float() * scale - expected).abs() / expected.abs().amax(1, keepdim=True).clamp_min(1)
    assert error.max() < 1 / 16 and (rows[4].float() * scale[4] == 0).all()


@pytest.mark.parametrize("outputs", [16, 24, 50])
def test_layer_is_that_of_the_rounded_numbers(outputs):
    torch.manual_seed(0)
    linear = nn.Linear(32, outputs)
    layer, x = Float8Linear(linear.weight, linear.bias), torch.randn(2, 7, 32)
    (rows, scale), (weight, of_weight) = (
        quantise_rows(x.bfloat16().flatten(0, 1)),
        quantise_rows(linear.weight),
    )
    expected = (rows.float() * scale) @ (weight.float() * of_weight).T + linear.bias
    found = layer(x)
    assert found.shape == (2, 7, outputs) and found.dtype == torch.bfloat16
    torch.testing.assert_close(found.flatten(0, 1).float(), expected, rtol=1e-2, atol=1e-2)
    assert (found - linear(x)).norm() < 0.06 * linear(x).norm()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernels need a GPU")
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("inputs", [768, 1024, 4096])
def test_gpu_gives_what_the_cpu_gives(inputs, gelu):
    torch.manual_seed(0)
    linear, x = nn.Linear(inputs, 1000), torch.randn(300, inputs).bfloat16()
    layer = Float8Linear(linear.weight, linear.bias)
    with torch.no_grad():
        expected, found = layer(x, gelu), layer.cuda()(x.cuda(), gelu).cpu()
    assert (found.float() - expected.float()).norm() < 1e-2 * expected.float().norm()
