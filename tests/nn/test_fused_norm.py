"""Residual step and norm in one."""

import pytest
import torch
from torch.nn import functional as F

from asvtk.nn.fused_norm import add_norm, norm_gelu


def random_norm(d, device="cpu"):
    norm = torch.nn.LayerNorm(d)
    torch.nn.init.uniform_(norm.weight)
    torch.nn.init.uniform_(norm.bias)
    return norm.to(device).requires_grad_(False)


def test_plain_twins_follow_the_definition():
    torch.manual_seed(0)
    x, branch, norm = torch.randn(2, 5, 12), torch.randn(2, 5, 12).bfloat16(), random_norm(12)
    total, normed = add_norm(x, branch, norm)
    torch.testing.assert_close(total, x + branch.float())
    assert normed.dtype == torch.bfloat16
    torch.testing.assert_close(normed, norm(total).bfloat16())
    torch.testing.assert_close(norm_gelu(x, norm), F.gelu(norm(x)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel needs a GPU")
@pytest.mark.parametrize("d", [512, 768, 1024])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_kernel_gives_what_its_plain_twin_gives(d, rows):
    from asvtk.nn.kernels.norm import normalise

    torch.manual_seed(0)
    x, norm = 3 * torch.randn(rows, d, device="cuda"), random_norm(d, "cuda")
    branch = torch.randn(rows, d, device="cuda", dtype=torch.bfloat16)
    settings = norm.weight, norm.bias, norm.eps, torch.float32
    total, normed = normalise(x, branch, *settings, gelu=False)
    torch.testing.assert_close(total, x + branch.float())
    torch.testing.assert_close(normed, norm(total), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        normalise(x, None, *settings, gelu=True)[1], F.gelu(norm(x)), rtol=1e-5, atol=1e-5
    )
