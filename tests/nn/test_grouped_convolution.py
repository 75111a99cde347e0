"""Half precision is tried before it is trusted; blocks of channels give the convolution they are cut from."""

import pytest
import torch
from torch.nn import functional as F

from asvtk.nn import grouped_convolution
from asvtk.nn.grouped_convolution import conv1d_in_blocks, grouped_conv1d, half_is_sound


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


@pytest.mark.parametrize(
    "width, groups, taps", [(48, 3, 8), (64, 2, 5), (80, 2, 8), (120, 2, 7), (130, 1, 4)]
)
def test_blocks_of_channels(width, groups, taps):
    torch.manual_seed(0)
    x, bias = torch.randn(2, groups * width, 20), torch.randn(groups * width)
    weight = torch.randn(groups * width, width, taps) / (width * taps) ** 0.5
    expected = F.conv1d(x, weight, bias, padding=taps // 2, groups=groups)
    assert torch.allclose(conv1d_in_blocks(x, weight, bias, taps // 2, groups), expected, atol=1e-5)
    halves = (x.bfloat16(), weight.bfloat16())
    expected = F.conv1d(*(half.float() for half in halves), padding=taps // 2, groups=groups)
    found = conv1d_in_blocks(*halves, None, taps // 2, groups)
    assert found.dtype == torch.bfloat16 and (found - expected).norm() < 5e-3 * expected.norm()
