"""Half precision is tried before it is trusted; matrix products give the convolution they stand for."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from asvtk.nn import grouped_convolution
from asvtk.nn.grouped_convolution import PositionalConv1d, grouped_conv1d, half_is_sound


def test_convolution_that_a_cpu_gets_wrong_is_computed_in_float32(monkeypatch, capsys):
    """As AMX does with few channels a group: half precision gives something else."""
    right = F.conv1d

    def wrong(x, *arguments, **options):
        y = right(x, *arguments, **options)
        return y if x.dtype == torch.float32 else 0 * y

    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 8, 50), torch.randn(8, 4, 5), torch.randn(8)
    expected = right(x, weight, bias, padding=2, groups=2)
    monkeypatch.setattr(grouped_convolution.F, "conv1d", wrong)
    half_is_sound.cache_clear()
    for _ in range(2):
        found = grouped_conv1d(x.bfloat16(), weight.bfloat16(), bias.bfloat16(), 2, 2)
        assert found.dtype == torch.bfloat16
        assert (found.float() - expected).norm() < 0.02 * expected.norm()
    assert capsys.readouterr().err.count("is wrong by 100 %") == 1
    half_is_sound.cache_clear()


@pytest.mark.parametrize("width, groups, taps", [(48, 3, 128), (64, 2, 35), (80, 2, 128)])
def test_position_embedding_by_matrix_products(width, groups, taps):
    torch.manual_seed(0)
    conv = nn.Conv1d(groups * width, groups * width, taps, padding=taps // 2, groups=groups)
    x = torch.randn(3, 37, groups * width)
    expected = conv(x.transpose(1, 2))[..., :37].transpose(1, 2)
    embedding = PositionalConv1d(conv, torch.float32)
    torch.testing.assert_close(embedding(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(embedding.by_matrices(x), expected, atol=1e-5, rtol=1e-5)
    assert embedding.by_matrices(x[:1, :1]).shape == (1, 1, groups * width)
    found = PositionalConv1d(conv, torch.bfloat16).by_matrices(x.bfloat16())
    assert found.dtype == torch.bfloat16 and (found - expected).norm() < 5e-3 * expected.norm()
